"""Run the attacks that a request asks for."""

from collections.abc import Sequence

from api_schemas.attacks import Attack as Wish
from api_schemas.attacks import AttackRecord, Attacks
from editor.io.progress import ProgressCallback, SubProgress, no_progress
from editor.judging.attacks.attack import Attack, AttackBudget, load_attack
from editor.judging.attacks.context import AttackContext


def load_attacks(wishes: Attacks) -> list[tuple[Attack, Wish]]:
    """The attacks that are on, with what each may spend.

    Raises:
        AttackError: nobody registered one of them.
    """
    return [(load_attack(name), wish) for name, wish in wishes.by_name.items() if wish.enabled]


def run_attacks(
    scenes: Sequence[AttackContext], wishes: Attacks, seed: int, progress: ProgressCallback = no_progress
) -> list[AttackRecord]:
    """Every attack that is on, against every removal.

    Args:
        scenes: one for each removal.
        seed: the request's, for attacks that bring none.
    """
    planned = [(attack, wish, context) for context in scenes for attack, wish in load_attacks(wishes)]
    records = []
    for number, (attack, wish, context) in enumerate(planned):
        part = SubProgress(progress, number / len(planned), 1 / len(planned))
        records.append(attack.run(context, resolve_budget(attack, wish, seed), part))
    return records


def resolve_budget(attack: Attack, wish: Wish, seed: int) -> AttackBudget:
    """What a wish grants, defaults filled in."""
    return AttackBudget(wish.budget or attack.default_budget, wish.images, seed if wish.seed is None else wish.seed)
