"""Atomic file writes and plotting."""
