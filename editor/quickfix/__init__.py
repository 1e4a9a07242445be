"""The closed-form edit: keys and values, the solve, the search for the preservation weight."""
