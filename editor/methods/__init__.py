"""Methods: from removals to tensor updates."""
