"""Takedown cases: notices, decisions, deadlines and statements."""
