"""Where text enters a model: the linear maps that an edit changes, and the keys and values that reach them."""
