"""Result tables of the documentation: ``python -m research.results`` writes docs/reference/results.md."""
