"""What the validate phase does beside its gates: attacks on the edit, and detectors on what was drawn."""

from pydantic import BaseModel

from api_schemas.attacks import AttackRecord
from api_schemas.detectors import DetectorRecord
from api_schemas.feature_scores import FeatureScores
from editor import emoji
from editor.checkpoints import open_checkpoint
from editor.io.progress import ProgressCallback
from editor.jobs.context import JobContext, keep
from editor.jobs.edit_phase import edited
from editor.judging.attacks import AttackContext, ModelVariant, load_attacks, make_edited_variant, run_attacks
from editor.judging.detectors import count_detections, load_detectors
from editor.judging.evaluation import GeneratedImages, ImagePairGenerator
from editor.judging.feature_scores.evaluate import generate_paired_images, score_features
from editor.ledger import all_active_removals
from editor.publishing.provenance import weights_digests

ATTACKS = "attacks"
"""The result's name."""


class Attacked(BaseModel):
    """What was found."""

    attacks: list[AttackRecord] = []
    detectors: list[DetectorRecord] = []
    features: FeatureScores | None = None


def run_attacking(
    context: JobContext, easel: ImagePairGenerator, drawn: GeneratedImages, prompts: list[str], tick: ProgressCallback
) -> None:
    """Attack every removal, count what detectors find in the images of prompts about them, and read features."""
    asked, stages = context.request.validation, scenes(context, easel)
    records = run_attacks(stages, asked.attacks, context.request.seed, tick)
    named = set(prompts)
    shots = [shot for shot in drawn.after if shot.prompt in named]
    sides = [[side[shot] for shot in shots] for side in (drawn.before, drawn.after)]
    found = [count_detections(detector, *sides) for detector in load_detectors(asked.detectors)] if shots else []
    features = read_features(context, stages) if asked.features else None
    keep(context, ATTACKS, Attacked(attacks=records, detectors=found, features=features))


def scenes(context: JobContext, easel: ImagePairGenerator) -> list[AttackContext]:
    """One for each removal; none where nothing needs them, which spares the copy of the encoder."""
    asked = context.request.validation
    if not (load_attacks(asked.attacks) or asked.features):
        return []
    before = ModelVariant(easel.pipeline, easel.sampler, context.builder)
    after = make_edited_variant(before, easel.updates)
    removed = all_active_removals(context.removals, context.entries, edited(context).ledger, context.builder)
    return [
        AttackContext(removal, index, removed, before, after, easel.updates, context.judge, easel.before)
        for index, removal in enumerate(context.removals)
    ]


def read_features(context: JobContext, stages: list[AttackContext]) -> FeatureScores | None:
    """Of every removal; None where there are no instruments for the model."""
    if context.files != weights_digests(open_checkpoint(emoji.WEIGHTS)):
        return None
    from editor.judging.feature_scores.embedded_instruments import load_instruments

    held, found = load_instruments(), FeatureScores()
    for scene in stages:
        more = score_features(scene, held, generate_paired_images(scene, held, context.request.seed))
        found = FeatureScores(sae=(*found.sae, *more.sae), diffc=(*found.diffc, *more.diffc))
    return found


def attacked(context: JobContext) -> Attacked:
    """The result; an empty one where nothing was validated."""
    path = context.result(ATTACKS)
    return Attacked.model_validate_json(path.read_bytes()) if path.is_file() else Attacked()
