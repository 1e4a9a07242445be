"""From images to a record: what was found, how often, and the strongest case."""

from collections.abc import Sequence
from dataclasses import dataclass

from api_schemas.attacks import AttackRecord, Attempt, Budget
from editor.generation.config import Image, ImageSpec
from editor.judging.attacks.attack import Attack, AttackBudget
from editor.judging.attacks.context import AttackContext
from editor.stats.intervals import hit_rate


@dataclass(frozen=True)
class Candidate:
    """What an attack puts to the model."""

    what: str
    seed: int
    likeness: float | None = None


def make_attempts(
    scene: AttackContext, candidates: Sequence[Candidate], after: Sequence[Image], before: Sequence[Image] | None = None
) -> list[Attempt]:
    """What the judge says of the images of candidates; ``before`` where the attack means something to the base model."""
    found = [None] * len(after) if before is None else [hit for hit, _ in scene.seeings(before)]
    return [
        Attempt(
            what=one.what, seed=one.seed, likeness=one.likeness, found_before=then, found=now, score=score
        )
        for one, then, (now, score) in zip(candidates, found, scene.seeings(after), strict=True)
    ]  # fmt: skip


def attempt_prompts(scene: AttackContext, candidates: Sequence[Candidate]) -> list[Attempt]:
    """Candidates that are prompts, drawn by both models."""
    texts, seeds = [one.what for one in candidates], [one.seed for one in candidates]
    before = scene.before_images([ImageSpec(text, seed) for text, seed in zip(texts, seeds, strict=True)])
    after = scene.after.draw(scene.after.states(texts), seeds)
    return make_attempts(scene, candidates, after, before)


def make_record(
    attack: Attack,
    scene: AttackContext,
    effort: AttackBudget,
    made: Sequence[Attempt],
    *,
    spent: int,
    tried: int,
    measures: dict[str, float] | None = None,
) -> AttackRecord:
    """The record of an attack that was run."""
    earlier = [one.found_before for one in made if one.found_before is not None]
    return AttackRecord(
        name=attack.name,
        removal=scene.index,
        access=attack.access,
        source=attack.source,
        seed=effort.seed,
        budget=make_budget_record(attack, effort, spent),
        tried=tried,
        rate=hit_rate([one.found for one in made]) if made else None,
        rate_before=hit_rate(earlier) if earlier else None,
        strongest=max(made, key=lambda one: (one.found, one.score), default=None),
        attempts=list(made),
        measures=measures or {},
        tells=attack.tells,
    )


def make_skipped_record(attack: Attack, scene: AttackContext, effort: AttackBudget, why: str) -> AttackRecord:
    """The record of an attack that has nothing to try."""
    record = make_record(attack, scene, effort, [], spent=0, tried=0)
    return record.model_copy(update={"skipped": why})


def make_budget_record(attack: Attack, effort: AttackBudget, spent: int) -> Budget:
    """What was granted and taken."""
    return Budget(unit=attack.unit, allowed=effort.budget, spent=spent, published=attack.published_budget)
