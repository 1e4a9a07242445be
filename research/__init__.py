"""Training of the embedded models, studies and result tables. Not part of the wheel."""
