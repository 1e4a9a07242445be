"""Intervals, confidence sequences and AUC."""
