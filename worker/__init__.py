"""The worker: claims a job, runs its phases with the editor and publishes the result.

python -m worker
"""
