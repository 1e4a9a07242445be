"""What is learned from the embedded model's features, and ships with it."""
