"""What features inside of the model say of an edit: sparse autoencoder, linear probe, Diff-C."""
