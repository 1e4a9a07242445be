"""Sign a bundle, and verify it."""
