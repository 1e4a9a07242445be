"""Adapters to third-party evaluation harnesses."""
