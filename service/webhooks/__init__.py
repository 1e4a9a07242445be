"""Telling others: signed messages by Standard Webhooks 1.0.0, to addresses that are checked at every attempt."""
