"""Sub-commands of `expunge` for operators: API keys, models, audit log, database and the launcher."""
