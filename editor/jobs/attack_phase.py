"""What the validate phase does beside its gates: attacks on the edit, and detectors on what was drawn."""

from pydantic import BaseModel

from api_schemas.attacks import AttackRecord
from api_schemas.detectors import DetectorRecord
from api_schemas.feature_scores import FeatureScores
from editor import emoji
from editor.checkpoints import open_checkpoint
from editor.generation.config import Tick
from editor.jobs.context import JobContext, keep
from editor.jobs.edit_phase import edited
from editor.judging.attacks import Scene, Side, check_known, edited_side, run_attacks
from editor.judging.detectors import counted, wanted
from editor.judging.evaluation import Drawn, Easel
from editor.judging.feature_scores.evaluate import feature_scores, sitting
from editor.ledger import all_removed
from editor.publishing.provenance import weights_digests

ATTACKS = "attacks"
"""The result's name."""


class Attacked(BaseModel):
    """What was found."""

    attacks: list[AttackRecord] = []
    detectors: list[DetectorRecord] = []
    features: FeatureScores | None = None


def run_attacking(context: JobContext, easel: Easel, drawn: Drawn, prompts: list[str], tick: Tick) -> None:
    """Attack every removal, count what detectors find in the images of prompts about them, and read features."""
    asked, stages = context.request.validation, scenes(context, easel)
    records = run_attacks(stages, asked.attacks, context.request.seed, tick)
    named = set(prompts)
    shots = [shot for shot in drawn.after if shot.prompt in named]
    sides = [[side[shot] for shot in shots] for side in (drawn.before, drawn.after)]
    found = [counted(detector, *sides) for detector in wanted(asked.detectors)] if shots else []
    features = read_features(context, stages) if asked.features else None
    keep(context, ATTACKS, Attacked(attacks=records, detectors=found, features=features))


def scenes(context: JobContext, easel: Easel) -> list[Scene]:
    """One for each removal; none where nothing needs them, which spares the copy of the encoder."""
    asked = context.request.validation
    if not (check_known(asked.attacks) or asked.features):
        return []
    before = Side(easel.pipeline, easel.sampler, context.book)
    after = edited_side(before, easel.updates)
    removed = all_removed(context.removals, context.entries, edited(context).ledger, context.book)
    return [
        Scene(removal, index, removed, before, after, easel.updates, context.judge, easel.before)
        for index, removal in enumerate(context.removals)
    ]


def read_features(context: JobContext, stages: list[Scene]) -> FeatureScores | None:
    """Of every removal; None where there are no instruments for the model."""
    if context.files != weights_digests(open_checkpoint(emoji.WEIGHTS)):
        return None
    from editor.judging.feature_scores.embedded_instruments import instruments

    held, found = instruments(), FeatureScores()
    for scene in stages:
        more = feature_scores(scene, held, sitting(scene, held, context.request.seed))
        found = FeatureScores(sae=(*found.sae, *more.sae), diffc=(*found.diffc, *more.diffc))
    return found


def attacked(context: JobContext) -> Attacked:
    """The result; an empty one where nothing was validated."""
    path = context.result(ATTACKS)
    return Attacked.model_validate_json(path.read_bytes()) if path.is_file() else Attacked()
