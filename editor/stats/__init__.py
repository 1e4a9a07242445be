"""Interval estimates, confidence sequences, AUC and rank correlation."""
