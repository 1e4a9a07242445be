"""What a report must say about itself: what a closed-form edit of one encoder can't do, and what was not measured."""

from collections.abc import Sequence

from api_schemas.edits import Validation
from api_schemas.report import RemovalRecord
from editor.checkpoints import SecondWay

ALWAYS = (
    "The edit suppresses a concept in the text encoder; the image half of the model still can draw it. Whoever holds the "
    "edited files can put the original encoder back.",
    "Fine-tuning the edited model, or a LoRA trained to teach the concept, may bring it back. Test again after either.",
    "Prompts that describe the concept without naming it are not covered.",
)

SWAP_BACK = "Putting the original text encoder back was not tried: nothing in published weights can prevent it."


def known_limits(removals: Sequence[RemovalRecord], ways: Sequence[SecondWay]) -> list[str]:
    """Limits of the method, of this request, and of a model that reads its prompts in other ways besides."""
    unnamed = [
        removal.concept for removal in removals if {name.source for name in removal.names} <= {"concept", "spelling"}
    ]
    names = ", ".join(f"“{name}”" for name in unnamed)
    aliases = [f"No other names were given for {names}: at most its spellings are covered."] if unnamed else []
    return [*ALWAYS, *aliases, *second_way_limits(ways)]


def second_way_limits(ways: Sequence[SecondWay]) -> list[str]:
    """What reaches the image past the edited encoders."""
    return [way.sentence for way in ways]


def not_tested(validation: Validation, *, features_read: bool = False) -> list[str]:
    """What this run did not measure."""
    if not validation.enabled:
        return ["No image was drawn, nothing was judged, and no attack was tried: validation was switched off."]
    seeds = ["Only one image a prompt was drawn."] if validation.seeds == 1 else []
    why = ": there are no instruments for this model" if validation.features else ""
    features = [] if features_read else [f"Features inside of the model were not read{why}."]
    return [*seeds, *features, *attacks_off(validation), SWAP_BACK]


def attacks_off(validation: Validation) -> list[str]:
    """A sentence on the attacks that were not asked for."""
    off = validation.attacks.disabled_titles
    return [f"These attacks were not tried: {', '.join(off)}."] if off else []
