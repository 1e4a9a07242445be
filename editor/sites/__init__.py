"""Sites: the linear maps through which text enters a model, and the keys and values at them."""
