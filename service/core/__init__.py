"""What the service does, independent of HTTP: accepting requests, conflicts, quotas, dry runs and overlays."""
