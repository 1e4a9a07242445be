"""What the edit does, measured on the embedded model: ``python -m research.results`` writes docs/reference/results.md."""
