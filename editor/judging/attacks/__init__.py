"""Attacks on an edit: attempts to make the edited model draw what was removed, each with a budget and a seed."""

from editor.judging.attacks import (
    adversarial_key,
    concept_inversion,
    fine_tuning,
    name_variants,
    noise_probe,
    ring_a_bell,
)
from editor.judging.attacks.context import Scene, Side, edited_side
from editor.judging.attacks.registry import Attack, Effort, find, register
from editor.judging.attacks.run import check_known, run_attacks

__all__ = [
    "Attack",
    "Effort",
    "Scene",
    "Side",
    "adversarial_key",
    "check_known",
    "concept_inversion",
    "edited_side",
    "find",
    "fine_tuning",
    "name_variants",
    "noise_probe",
    "register",
    "ring_a_bell",
    "run_attacks",
]
