"""Sub-commands of `expunge` for operators."""
