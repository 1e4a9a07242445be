"""What the edit does, measured on the embedded model: ``python -m editor.emoji.results`` writes docs/results.md."""
