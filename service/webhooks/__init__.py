"""Outgoing webhooks: signed messages (Standard Webhooks 1.0.0) to addresses that are validated at every attempt."""
