"""The schema's history. Each file of `versions` is one step, forward and back, on SQLite and on PostgreSQL.

    python deploy/new_migration.py "what changes"

writes the next step from what the tables in `service.store.orm` have and the last step's database has not.
"""
