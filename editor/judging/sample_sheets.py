"""Sample sheets: for each group of prompts, images of the base model next to those of the edited one."""

from collections.abc import Sequence

from PIL import Image as Pillow

from editor.generation.config import ImageSpec
from editor.io.figures import Picture
from editor.io.plotting import ImagePair, sample_sheet
from editor.judging.prompt_groups import PromptGroup
from editor.judging.prompt_scores import GeneratedImages
from editor.prompts.templates import evenly_spaced

PAIRS_PER_SHEET = 8
CAPTIONS = {
    "target": "Prompts that name the removed concept.",
    "generality": "The removed concept in wordings that the edit did not see.",
    "neighbours": "The nearest concepts, which must stay.",
    "retain": "Unrelated prompts, which must stay.",
}


def make_sample_sheets(groups: Sequence[PromptGroup], generated: GeneratedImages, seed: int) -> list[Picture]:
    """Return a sheet for each group of prompts; groups that ask more about the same prompts have none."""
    distinct = {(group.name, group.removal): group for group in groups if group.name in CAPTIONS}
    return [make_sample_sheet(group, generated, seed) for group in distinct.values()]


def make_sample_sheet(group: PromptGroup, generated: GeneratedImages, seed: int) -> Picture:
    """Return a sheet with up to ``PAIRS_PER_SHEET`` pairs of images at one seed."""
    pairs = []
    for prompt in evenly_spaced(group.prompts, PAIRS_PER_SHEET):
        spec = ImageSpec(prompt, seed)
        before, after = (Pillow.fromarray(images[spec]) for images in (generated.before, generated.after))
        pairs.append(ImagePair(prompt, before, after))
    number = "" if group.removal is None else f"-{group.removal}"
    return sample_sheet(f"samples-{group.name}{number}", CAPTIONS[group.name], pairs)
