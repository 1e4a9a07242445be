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

    description: str
    seed: int
    likeness: float | None = None


def make_attempts(
    context: AttackContext,
    candidates: Sequence[Candidate],
    after: Sequence[Image],
    before: Sequence[Image] | None = None,
) -> list[Attempt]:
    """What the judge says of the images of candidates; ``before`` where the attack means something to the base model."""
    found = [None] * len(after) if before is None else [hit for hit, _ in context.judge_images(before)]
    return [
        Attempt(
            what=one.description, seed=one.seed, likeness=one.likeness, found_before=then, found=now, score=score
        )
        for one, then, (now, score) in zip(candidates, found, context.judge_images(after), strict=True)
    ]  # fmt: skip


def attempt_prompts(context: AttackContext, candidates: Sequence[Candidate]) -> list[Attempt]:
    """Candidates that are prompts, drawn by both models."""
    texts, seeds = [one.description for one in candidates], [one.seed for one in candidates]
    before = context.base_images([ImageSpec(text, seed) for text, seed in zip(texts, seeds, strict=True)])
    after = context.after.generate(context.after.encode_prompts(texts), seeds)
    return make_attempts(context, candidates, after, before)


def make_record(
    attack: Attack,
    context: AttackContext,
    budget: AttackBudget,
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
        removal=context.index,
        access=attack.access,
        source=attack.source,
        seed=budget.seed,
        budget=make_budget_record(attack, budget, spent),
        tried=tried,
        rate=hit_rate([one.found for one in made]) if made else None,
        rate_before=hit_rate(earlier) if earlier else None,
        strongest=max(made, key=lambda one: (one.found, one.score), default=None),
        attempts=list(made),
        measures=measures or {},
        tells=attack.tells,
    )


def make_skipped_record(attack: Attack, context: AttackContext, budget: AttackBudget, why: str) -> AttackRecord:
    """The record of an attack that has nothing to try."""
    record = make_record(attack, context, budget, [], spent=0, tried=0)
    return record.model_copy(update={"skipped": why})


def make_budget_record(attack: Attack, budget: AttackBudget, spent: int) -> Budget:
    """What was granted and taken."""
    return Budget(unit=attack.unit, allowed=budget.limit, spent=spent, published=attack.published_budget)
