"""``python -m editor.publishing.attestation DIR``: create a signing key, unless the folder has one. For launchers."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from editor.publishing.attestation.keys import KeyFolder

if __name__ == "__main__":
    folder = KeyFolder(Path(sys.argv[1]))
    if not folder.public().keys:
        folder.create(datetime.now(UTC).replace(microsecond=0))
