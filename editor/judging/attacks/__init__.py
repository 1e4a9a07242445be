"""Attacks on an edit: attempts to make the edited model generate what was removed, each with a budget and a seed."""

from editor.judging.attacks.attack import Attack, Effort, load_attack
from editor.judging.attacks.context import Scene, Side, edited_side
from editor.judging.attacks.run import check_known, run_attacks

__all__ = ["Attack", "Effort", "Scene", "Side", "check_known", "edited_side", "load_attack", "run_attacks"]
