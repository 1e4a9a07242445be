"""Run the attacks that a request switches on."""

from collections.abc import Sequence

from api_schemas.attacks import Attack as AttackOptions
from api_schemas.attacks import AttackRecord, Attacks
from editor.errors import AttackNotApplicable
from editor.io.progress import ProgressCallback, report_fraction, track
from editor.judging.attacks.attack import Attack, AttackBudget, load_attack
from editor.judging.attacks.context import AttackContext
from editor.judging.attacks.records import make_skipped_record


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
        run_attack(attack, context, resolve_budget(attack, options, seed), report_fraction)
        for attack, options, context in track(planned)
    ]


def run_attack(
    attack: Attack, context: AttackContext, budget: AttackBudget, progress: ProgressCallback
) -> AttackRecord:
    """Run an attack. If it does not work with this family of models, return a record that says so."""
    try:
        return attack.run(context, budget, progress)
    except AttackNotApplicable as error:
        return make_skipped_record(attack, context, budget, error.message)


def resolve_budget(attack: Attack, options: AttackOptions, seed: int) -> AttackBudget:
    """Return the budget that a request's options set, with defaults filled in."""
    return AttackBudget(
        options.budget or attack.default_budget, options.images, seed if options.seed is None else options.seed
    )
