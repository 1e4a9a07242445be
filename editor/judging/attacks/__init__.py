"""Attacks on an edit: attempts to make the edited model draw what was removed, each with a budget and a seed."""

from editor.judging.attacks import adversarial_key, inversion, names, noise_probe, resurgence, ring_a_bell
from editor.judging.attacks.registry import Attack, Effort, find, register
from editor.judging.attacks.run import check_known, run_attacks
from editor.judging.attacks.scene import Scene, Side, edited_side

__all__ = [
    "Attack",
    "Effort",
    "Scene",
    "Side",
    "adversarial_key",
    "check_known",
    "edited_side",
    "find",
    "inversion",
    "names",
    "noise_probe",
    "register",
    "resurgence",
    "ring_a_bell",
    "run_attacks",
]
