"""Database and blobs: the truth about every job. Shared by service and worker; knows neither HTTP nor torch.

The database is the truth, the queue a doorbell. Each function takes an open `Session`, so that its caller
decides what belongs into one transaction, and the time, so that a test can be its own clock.
"""
