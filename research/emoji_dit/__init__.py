"""Training of `emoji-dit`, a small FLUX-class model that reads its text through a T5-style encoder and the embedded CLIP."""
