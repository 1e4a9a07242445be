"""Benchmarks against the tools that a user would choose instead: ``expunge bench NAME --json``."""
