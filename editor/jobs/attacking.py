"""What the validate phase does beside its gates: attacks on the edit, and detectors on what was drawn."""

from pydantic import BaseModel

from api_schemas.attacks import AttackRecord
from api_schemas.detectors import DetectorRecord
from editor.jobs.context import JobContext, keep
from editor.jobs.editing import edited
from editor.judging.attacks import Scene, Side, check_known, edited_side, run_attacks
from editor.judging.detectors import counted, wanted
from editor.judging.shots import Tick
from editor.judging.trials import Drawn, Easel
from editor.ledger import all_removed

ATTACKS = "attacks"
"""The result's name."""


class Attacked(BaseModel):
    """What was found."""

    attacks: list[AttackRecord] = []
    detectors: list[DetectorRecord] = []


def run_attacking(context: JobContext, easel: Easel, drawn: Drawn, prompts: list[str], tick: Tick) -> None:
    """Attack every removal, and count what detectors find in the images of prompts about them."""
    wishes = context.request.validation.attacks
    records = run_attacks(scenes(context, easel), wishes, context.request.seed, tick)
    named = set(prompts)
    shots = [shot for shot in drawn.after if shot.prompt in named]
    sides = [[side[shot] for shot in shots] for side in (drawn.before, drawn.after)]
    found = [counted(detector, *sides) for detector in wanted(context.request.validation.detectors)] if shots else []
    keep(context, ATTACKS, Attacked(attacks=records, detectors=found))


def scenes(context: JobContext, easel: Easel) -> list[Scene]:
    """One for each removal; none where no attack is on, which spares the copy of the encoder."""
    if not check_known(context.request.validation.attacks):
        return []
    before = Side(easel.pipeline, easel.sampler, context.book)
    after = edited_side(before, easel.updates)
    removed = all_removed(context.removals, context.entries, edited(context).ledger, context.book)
    return [
        Scene(removal, index, removed, before, after, easel.updates, context.judge, easel.before)
        for index, removal in enumerate(context.removals)
    ]


def attacked(context: JobContext) -> Attacked:
    """The result; an empty one where nothing was validated."""
    path = context.result(ATTACKS)
    return Attacked.model_validate_json(path.read_bytes()) if path.is_file() else Attacked()
