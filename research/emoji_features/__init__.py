"""Training of the feature extractors that are packaged with the embedded model."""
