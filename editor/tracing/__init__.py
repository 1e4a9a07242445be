"""Causal mediation analysis of the text encoder: which site, put back from a clean run, brings a corrupted concept back."""
