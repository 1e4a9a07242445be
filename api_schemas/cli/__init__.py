"""The `expunge` command and the options that its sub-commands share."""
