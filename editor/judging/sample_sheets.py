"""Sample sheets: for each removal, what its prompts drew before and after, and what was kept."""

from collections.abc import Sequence

from PIL import Image as Pillow

from editor.generation.config import ImageSpec
from editor.io.plotting import Pair, Picture, sample_sheet
from editor.judging.evaluation import GeneratedImages
from editor.judging.prompt_groups import PromptGroup
from editor.prompts.templates import evenly_spaced

PAIRS_PER_SHEET = 8
CAPTIONS = {
    "target": "Prompts that name the removed concept.",
    "generality": "The removed concept in wordings that the edit did not see.",
    "neighbours": "The nearest concepts, which must stay.",
    "retain": "Unrelated prompts, which must stay.",
}


def make_sample_sheets(groups: Sequence[PromptGroup], drawn: GeneratedImages, seed: int) -> list[Picture]:
    """One sheet for each group of prompts; a group that is asked about twice is drawn once."""
    distinct = {(group.name, group.removal): group for group in groups}
    return [make_sample_sheet(group, drawn, seed) for group in distinct.values()]


def make_sample_sheet(group: PromptGroup, drawn: GeneratedImages, seed: int) -> Picture:
    """Up to eight pairs of a group."""
    shots = [ImageSpec(prompt, seed) for prompt in evenly_spaced(group.prompts, PAIRS_PER_SHEET)]
    pairs = [
        Pair(
            s.prompt,
            Pillow.fromarray(drawn.before[s]),
            Pillow.fromarray(drawn.after[s]),
        )
        for s in shots
    ]
    number = "" if group.removal is None else f"-{group.removal}"
    return sample_sheet(f"samples-{group.name}{number}", CAPTIONS[group.name], pairs)
