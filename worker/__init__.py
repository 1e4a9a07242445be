"""The worker: claims a job, runs its phases with the editor, publishes. No HTTP routes.

python -m worker
"""
