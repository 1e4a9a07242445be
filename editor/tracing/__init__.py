"""Causal mediation analysis: which sites restore a concept that was corrupted, if they are patched from a clean run."""
