"""What the published files are called."""

DELTA = "delta.safetensors"
OVERLAYS = "overlays.json"
"""For whoever delivers: how each file that is published but not stored is put together. Not published itself."""
CARD, REPORT, PAGE, PRINT = "README.md", "report.json", "report.html", "report.pdf"
ATTESTATION = "attestation.intoto.jsonl"
PRIVATE_REPORT = "report.private.json"
"""The report with the names that the published one withholds. For whoever asked, and nobody else."""
