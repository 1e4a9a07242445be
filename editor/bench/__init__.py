"""Benchmarks against what a user would pick instead, in one form: ``expunge bench NAME --json``."""
