"""Sub-commands of `expunge` that need the editor."""
