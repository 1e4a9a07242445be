"""Features of CLIP image embeddings: find them with a sparse autoencoder, group them, render them, steer with them.

After G. Daujotas, "Case Study: Interpreting, Manipulating, and Controlling CLIP With Sparse Autoencoders" (2024).
"""
