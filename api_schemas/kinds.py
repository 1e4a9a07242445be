"""The kinds of concepts that can be removed."""

from typing import Literal

ConceptKind = Literal["object", "style", "person", "character", "brand", "unsafe"]
PromptSlot = Literal["object", "style"]
"""The place in a prompt that a concept takes: what is depicted, or the style in which it is."""
NamedKind = Literal["person", "character", "brand", "unsafe"]
"""Kinds of depicted things whose names take no article in a prompt."""
KIND_DESCRIPTION = (
    "`object`: a depicted thing. `style`: the style in which anything is depicted. `person`: a real person. `character`: a "
    "fictional one. `brand`: a company or product, with its logo. `unsafe`: content that a detector recognises, such as nudity."
)


def prompt_slot(kind: ConceptKind) -> PromptSlot:
    """Return the place in a prompt that a concept of this kind takes."""
    return "style" if kind == "style" else "object"


AUTO = "auto"
"""A replacement or class that is chosen, not named."""
