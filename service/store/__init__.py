"""Database and blob store: the source of truth about every job.

Shared by service and worker; imports neither an HTTP framework nor torch. Functions take an open `Session`, so that the
caller decides what belongs to one transaction, and the current time, so that tests control the clock.
"""
