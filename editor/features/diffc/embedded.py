"""Loads the Diff-C classifiers of the embedded model."""

from functools import cache

from editor import emoji
from editor.features.diffc.model import DiffusionClassifier, load_diffc
from editor.prompts.concepts import ConceptKind

DIFFC_FOLDER = emoji.FEATURES / "diffc"


@cache
def diffc_classifier(kind: ConceptKind) -> DiffusionClassifier:
    """Load the classifier of 96 objects or of 5 styles; cached."""
    return load_diffc(DIFFC_FOLDER / kind)
