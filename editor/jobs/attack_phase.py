"""The parts of the validate phase that go beyond its gates: attacks on the edit, detectors and feature scores."""

from collections.abc import Sequence
from pathlib import Path

from api_schemas.detectors import DetectorRecord, Detectors
from api_schemas.feature_scores import FeatureScores
from editor import emoji
from editor.io.progress import track
from editor.jobs.model import Model, open_model
from editor.judging.attacks import AttackContext, ModelVariant, make_edited_variant
from editor.judging.detectors import count_detections, load_detectors
from editor.judging.feature_scores import calibration
from editor.judging.feature_scores.evaluate import FeatureInstruments, generate_paired_images, score_features
from editor.judging.image_pairs import ImagePairGenerator
from editor.judging.judge import Judge
from editor.judging.prompt_scores import GeneratedImages
from editor.prompts import ResolvedRemoval


def attack_contexts(
    model: Model,
    removals: Sequence[ResolvedRemoval],
    removed: Sequence[ResolvedRemoval],
    judge: Judge,
    images: ImagePairGenerator,
) -> list[AttackContext]:
    """Return the attack context of each removal. This copies the text encoder.

    Args:
        removed: all concepts that the edited weights no longer generate, the ledger's included.
    """
    before = ModelVariant(images.pipeline, images.sampler, model.prompts)
    after = make_edited_variant(before, images.updates)
    return [
        AttackContext(removal, index, removed, before, after, images.updates, judge, images.before)
        for index, removal in enumerate(removals)
    ]


def run_detectors(options: Detectors, generated: GeneratedImages, prompts: Sequence[str]) -> list[DetectorRecord]:
    """Count what each detector finds in the images of some prompts, before and after the edit."""
    selected = set(prompts)
    specs = [spec for spec in generated.after if spec.prompt in selected]
    sides = [[side[spec] for spec in specs] for side in (generated.before, generated.after)]
    return [count_detections(detector, *sides) for detector in load_detectors(options)] if specs else []


def find_instruments(model: Model, calibrations: Path) -> FeatureInstruments | None:
    """Return the model's instruments: from its calibration, or those that ship with the embedded model; else None."""
    if (folder := calibrations / model.digest).is_dir():
        return calibration.load_instruments(folder)
    if model.digest != open_model(emoji.WEIGHTS).digest:
        return None
    from editor.judging.feature_scores import embedded_instruments

    return embedded_instruments.load_instruments()


def score_all_features(
    model: Model, contexts: Sequence[AttackContext], seed: int, calibrations: Path
) -> FeatureScores | None:
    """Score the features of every removed concept. Return None if the model has no instruments.

    Args:
        calibrations: a folder with the calibration of each calibrated model, by its digest.
    """
    instruments = find_instruments(model, calibrations)
    if instruments is None:
        return None
    scores = [
        score_features(context, instruments, generate_paired_images(context, instruments, seed))
        for context in track(contexts)
    ]
    return FeatureScores(
        sae=tuple(score for each in scores for score in each.sae),
        diffc=tuple(score for each in scores for score in each.diffc),
    )
