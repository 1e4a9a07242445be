"""The limits that a report states: what the edit cannot do, and what was not measured."""

from collections.abc import Sequence

from api_schemas.edits import Validation
from api_schemas.report import RemovalRecord, SolveRecord
from editor.checkpoints import Checkpoint

ENCODER_ONLY = (
    "The edit suppresses a concept in the text encoder; the denoiser can still generate it. Anyone who has the edited files "
    "can put the original text encoder back."
)
DENOISER_TOO = (
    "The edit suppresses a concept where text enters the denoiser; the denoiser's other weights can still generate it. Anyone "
    "who has the base model can put all of its tensors back."
)
METHOD_LIMITS = (
    "Fine-tuning the edited model, or a LoRA trained on the concept, may bring the concept back. Test the model again after "
    "either.",
    "Prompts that describe the concept without naming it are not covered.",
)

GENERATED_SOURCES = {"concept", "plural", "spelling"}
"""Sources of the names that every request has, besides the concept's own."""

ENCODER_SWAP_UNTESTED = (
    "Putting the original text encoder back was not tested. Only an edit of the denoiser's sites can withstand it."
)


def known_limits(removals: Sequence[RemovalRecord], solves: Sequence[SolveRecord], checkpoint: Checkpoint) -> list[str]:
    """Return the limits of the method, of this request, and of a model with text encoders that the edit does not change."""
    without_aliases = [
        removal.concept for removal in removals if {name.source for name in removal.names} <= GENERATED_SOURCES
    ]
    names = ", ".join(f"“{name}”" for name in without_aliases)
    aliases = (
        [f"The request gives no other names for {names}: only its plural and spellings are covered."] if names else []
    )
    uncovered = ", ".join(f"“{name.text}”" for removal in removals for name in removal.uncovered_names)
    partly = [f"These names were edited, but are less far gone than the concept: {uncovered}."] if uncovered else []
    return [
        ENCODER_ONLY if all(solve.site == "text_encoder" for solve in solves) else DENOISER_TOO,
        *METHOD_LIMITS,
        *aliases,
        *partly,
        *unedited_limits(solves, checkpoint),
        *variant_limits(checkpoint),
    ]


def unedited_limits(solves: Sequence[SolveRecord], checkpoint: Checkpoint) -> list[str]:
    """Return a sentence on each text encoder that the edit does not change, unless the gate that reads it is edited."""
    closed = any(solve.site == "text_gate" for solve in solves)
    return [] if closed else [encoder.limitation for encoder in checkpoint.unedited_encoders]


def variant_limits(checkpoint: Checkpoint) -> list[str]:
    """Return a sentence on other weights of the edited text encoders."""
    variants = checkpoint.unedited_variants
    if not variants:
        return []
    edited = sorted(path.relative_to(checkpoint.path).as_posix() for one in checkpoint.encoders for path in one.files)
    return [
        f"The edit changes {', '.join(edited)}. The model's folder has other weights of the same text encoder, which still "
        f"know the concept: {', '.join(variants)}. Delete them, or edit them as well (--variant)."
    ]


def list_untested(validation: Validation, *, features_read: bool = False) -> list[str]:
    """Return what this run did not measure."""
    if not validation.enabled:
        return ["Validation was turned off: no image was generated, no gate was evaluated, and no attack was run."]
    seeds = ["Only one image was generated for each prompt."] if validation.seeds == 1 else []
    reason = ": the model is not calibrated for this concept" if validation.features else ""
    features = [] if features_read else [f"Features inside the model were not scored{reason}."]
    swap = [] if validation.attacks.encoder_swap.enabled else [ENCODER_SWAP_UNTESTED]
    return [*seeds, *features, *untested_attacks(validation), *swap]


def untested_attacks(validation: Validation) -> list[str]:
    """Return a sentence on the attacks that were not requested."""
    off = validation.attacks.disabled_titles
    return [f"These attacks were not run: {', '.join(off)}."] if off else []
