"""Run the attacks that a request asks for."""

from collections.abc import Sequence

from api_schemas.attacks import Attack as Wish
from api_schemas.attacks import AttackRecord, Attacks
from editor.generation.sampling import Stretch, Tick
from editor.judging.attacks.attack import Attack, Effort, load_attack
from editor.judging.attacks.context import Scene


def check_known(wishes: Attacks) -> list[tuple[Attack, Wish]]:
    """The attacks that are on, with what each may spend.

    Raises:
        AttackError: nobody registered one of them.
    """
    return [(load_attack(name), wish) for name, wish in wishes.named.items() if wish.enabled]


def run_attacks(
    scenes: Sequence[Scene], wishes: Attacks, seed: int, tick: Tick = lambda done: None
) -> list[AttackRecord]:
    """Every attack that is on, against every removal.

    Args:
        scenes: one for each removal.
        seed: the request's, for attacks that bring none.
    """
    planned = [(attack, wish, scene) for scene in scenes for attack, wish in check_known(wishes)]
    records = []
    for number, (attack, wish, scene) in enumerate(planned):
        part = Stretch(tick, number / len(planned), 1 / len(planned))
        records.append(attack.run(scene, effort_of(attack, wish, seed), part))
    return records


def effort_of(attack: Attack, wish: Wish, seed: int) -> Effort:
    """What a wish grants, defaults filled in."""
    return Effort(wish.budget or attack.default_budget, wish.images, seed if wish.seed is None else wish.seed)
