"""Judging by a model that was not edited: zero-shot accuracy before and after, intervals, the verdict."""
