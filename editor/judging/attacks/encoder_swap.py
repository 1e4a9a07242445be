"""Put the original text encoders back: the edited denoiser reads prompts by the encoders that the base model came with.

Anyone can do this who has the base model. An edit of the text encoder alone is undone; an edit of the maps through which the
denoiser reads text is not, as these read the original states.
"""

from typing import ClassVar

from api_schemas.attacks import Access, AttackRecord
from editor.checkpoints.denoiser import COMPONENTS
from editor.generation.config import ImageSpec
from editor.io.progress import ProgressCallback
from editor.judging.attacks.attack import AttackBudget
from editor.judging.attacks.context import AttackContext, make_edited_variant
from editor.judging.attacks.records import Candidate, make_attempts, make_record


class EncoderSwap:
    """Generate images of the concept by its name, with the original text encoders and the edited denoiser."""

    name: ClassVar[str] = "encoder_swap"
    access: ClassVar[Access] = "weights"
    unit: ClassVar[str] = "images"
    default_budget: ClassVar[int] = 8
    published_budget: ClassVar[int | None] = None
    source: ClassVar[str] = "The original text encoders in the place of the edited ones."
    tells: ClassVar[str] = (
        "A success means that the removal is in the text encoders alone, which anyone can exchange for the base model's. "
        "A failure means that the denoiser no longer reads the concept from the original text encoders either."
    )

    def run(self, context: AttackContext, budget: AttackBudget, progress: ProgressCallback) -> AttackRecord:
        """Run the attack."""
        kept = [update for update in context.updates if update.component in COMPONENTS]
        swapped = make_edited_variant(context.before, kept)
        texts = [phrase.text() for phrase in context.concept_prompts[: min(budget.limit, budget.images)]]
        specs = [ImageSpec(text, budget.seed) for text in texts]
        before = context.base_images(specs)
        after = swapped.generate_specs(specs) if kept else before
        progress(0.9)
        candidates = [Candidate(text, budget.seed) for text in texts]
        attempts = make_attempts(context, candidates, after, before)
        measures = {"tensors of the denoiser that are edited": float(len(kept))}
        return make_record(self, context, budget, attempts, spent=len(specs), tried=len(specs), measures=measures)
