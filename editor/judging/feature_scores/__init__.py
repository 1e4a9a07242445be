"""Scores of an edit from the model's own features: sparse autoencoder, linear probe and Diff-C."""
