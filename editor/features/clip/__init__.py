"""Features of CLIP's image embeddings: found by a sparse autoencoder, grouped, drawn and steered.

After G. Daujotas, "Case Study: Interpreting, Manipulating, and Controlling CLIP With Sparse Autoencoders" (2024).
"""
