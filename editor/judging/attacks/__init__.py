"""Attacks on an edit: attempts to make the edited model generate what was removed, each with a budget and a seed."""

from editor.judging.attacks.attack import Attack, AttackBudget, load_attack
from editor.judging.attacks.context import AttackContext, ModelVariant, make_edited_variant
from editor.judging.attacks.run import load_attacks, run_attacks

__all__ = [
    "Attack",
    "AttackBudget",
    "AttackContext",
    "ModelVariant",
    "load_attack",
    "load_attacks",
    "make_edited_variant",
    "run_attacks",
]
