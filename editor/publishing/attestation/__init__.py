"""Signing what is published, and verifying it: neither needs torch, unless a delta is held against its base."""
