"""The images that an evaluation of prompt groups generates: each prompt at each seed, in every round."""

from collections.abc import Sequence

from editor.generation.config import ImageSpec
from editor.judging.prompt_groups import PromptGroup


def image_specs(groups: Sequence[PromptGroup], seeds: Sequence[int]) -> list[ImageSpec]:
    """Return each distinct prompt of the groups at each seed."""
    prompts = dict.fromkeys(prompt for group in groups for prompt in group.prompts)
    return [ImageSpec(prompt, seed) for prompt in prompts for seed in seeds]


def round_seeds(seeds: Sequence[int], number: int) -> list[int]:
    """Return the seeds of a round of prompts; those of the first round are ``seeds``."""
    return [seed + number * len(seeds) for seed in seeds]


def planned_specs(groups: Sequence[PromptGroup], seeds: Sequence[int]) -> list[ImageSpec]:
    """Return every image that the groups may need before and after the edit, in all rounds."""
    rounds = (image_specs([group], round_seeds(seeds, number)) for group in groups for number in range(group.rounds))
    return list(dict.fromkeys(spec for specs in rounds for spec in specs))


def count_planned_images(groups: Sequence[PromptGroup], seeds: Sequence[int]) -> int:
    """Return the largest number of images of an evaluation: before and after the edit, and of references."""
    planned = planned_specs(groups, seeds)
    compared = [group for group in groups if group.needs_references]
    references = {
        spec for group in compared for number in range(group.rounds)
        for spec in group.reference_specs(group.phrases, round_seeds(seeds, number))
    }  # fmt: skip
    return 2 * len(planned) + len(references.difference(planned))
