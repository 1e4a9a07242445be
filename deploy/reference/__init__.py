"""Reference pages that are generated from the code: ``make reference`` writes them, tests/docs compares them."""
