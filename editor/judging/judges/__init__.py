"""Built-in judges, one class a file. The entry points of the group ``expunge.judges`` name them by ``model_type``."""
