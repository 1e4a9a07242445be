"""From resolved removals to tensor updates: one method per module."""
