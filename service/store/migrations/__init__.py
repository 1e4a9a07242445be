"""Migrations of the schema. Each file of `versions` upgrades and downgrades by one step, on SQLite and PostgreSQL.

    python deploy/new_migration.py "what changes"

generates the next step from the difference between `service.store.orm` and a database at the last step.
"""
