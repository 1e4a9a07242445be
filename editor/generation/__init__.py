"""Images from diffusers pipelines, in batches and within a memory budget."""
