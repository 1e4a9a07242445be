"""Run the attacks that a request switches on."""

from collections.abc import Sequence

from api_schemas.attacks import Attack as AttackOptions
from api_schemas.attacks import AttackRecord, Attacks
from editor.io.progress import report_fraction, track
from editor.judging.attacks.attack import Attack, AttackBudget, load_attack
from editor.judging.attacks.context import AttackContext


def load_attacks(attacks: Attacks) -> list[tuple[Attack, AttackOptions]]:
    """Return the attacks that a request switches on, with their options.

    Raises:
        AttackError: an attack is not declared by any installed distribution.
    """
    return [(load_attack(name), options) for name, options in attacks.by_name.items() if options.enabled]


def run_attacks(scenes: Sequence[AttackContext], attacks: Attacks, seed: int) -> list[AttackRecord]:
    """Run every attack that a request switches on against every removal. Reports its progress.

    Args:
        scenes: one context for each removal.
        seed: the request's seed, for attacks that set none.
    """
    planned = [(attack, options, context) for context in scenes for attack, options in load_attacks(attacks)]
    return [
        attack.run(context, resolve_budget(attack, options, seed), report_fraction)
        for attack, options, context in track(planned)
    ]


def resolve_budget(attack: Attack, options: AttackOptions, seed: int) -> AttackBudget:
    """Return the budget that a request's options set, with defaults filled in."""
    return AttackBudget(
        options.budget or attack.default_budget, options.images, seed if options.seed is None else options.seed
    )
