"""Attack records: the success rate with its interval, the strongest attempt, and the budget spent."""

from collections.abc import Sequence
from dataclasses import dataclass

from api_schemas.attacks import AttackRecord, Attempt, Budget
from editor.generation.config import Image, ImageSpec
from editor.judging.attacks.attack import Attack, AttackBudget
from editor.judging.attacks.context import AttackContext
from editor.stats.intervals import hit_rate


@dataclass(frozen=True)
class Candidate:
    """One attempt before it is judged: a prompt, or a description of what is done."""

    description: str
    seed: int
    likeness: float | None = None


def make_attempts(
    context: AttackContext,
    candidates: Sequence[Candidate],
    after: Sequence[Image],
    before: Sequence[Image] | None = None,
) -> list[Attempt]:
    """Judge the images of candidates; pass ``before`` if the attack also applies to the base model."""
    found = [None] * len(after) if before is None else [hit for hit, _ in context.judge_images(before)]
    return [
        Attempt(
            what=one.description, seed=one.seed, likeness=one.likeness, found_before=then, found=now, score=score
        )
        for one, then, (now, score) in zip(candidates, found, context.judge_images(after), strict=True)
    ]  # fmt: skip


def attempt_prompts(context: AttackContext, candidates: Sequence[Candidate]) -> list[Attempt]:
    """Generate images of candidates that are prompts with both models, and judge them."""
    texts, seeds = [one.description for one in candidates], [one.seed for one in candidates]
    specs = [ImageSpec(text, seed) for text, seed in zip(texts, seeds, strict=True)]
    return make_attempts(context, candidates, context.after.generate_specs(specs), context.base_images(specs))


def make_record(
    attack: Attack,
    context: AttackContext,
    budget: AttackBudget,
    attempts: Sequence[Attempt],
    *,
    spent: int,
    tried: int,
    measures: dict[str, float] | None = None,
) -> AttackRecord:
    """Return the record of an attack.

    Args:
        attempts: judged attempts, from which the success rates are computed.
        spent: part of the budget that was used.
        tried: number of candidates that were considered.
        measures: further figures by name.
    """
    base_hits = [one.found_before for one in attempts if one.found_before is not None]
    return AttackRecord(
        name=attack.name,
        removal=context.index,
        access=attack.access,
        source=attack.source,
        seed=budget.seed,
        budget=make_budget_record(attack, budget, spent),
        tried=tried,
        rate=hit_rate([one.found for one in attempts]) if attempts else None,
        rate_before=hit_rate(base_hits) if base_hits else None,
        strongest=max(attempts, key=lambda one: (one.found, one.score), default=None),
        attempts=list(attempts),
        measures=measures or {},
        tells=attack.tells,
    )


def make_skipped_record(attack: Attack, context: AttackContext, budget: AttackBudget, why: str) -> AttackRecord:
    """Return the record of an attack that had no candidates, with the reason."""
    record = make_record(attack, context, budget, [], spent=0, tried=0)
    return record.model_copy(update={"skipped": why})


def make_budget_record(attack: Attack, budget: AttackBudget, spent: int) -> Budget:
    """Return the budget allowed, spent and published."""
    return Budget(unit=attack.unit, allowed=budget.limit, spent=spent, published=attack.published_budget)
