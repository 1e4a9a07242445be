"""Compare the forecast for prompts about retained concepts with the measured loss of accuracy."""

from collections.abc import Mapping
from statistics import fmean

import numpy as np

from api_schemas.judging import Check, GroupScore
from api_schemas.report import CollateralBand, CollateralRecord, Validation
from editor.checkpoints import Checkpoint
from editor.checkpoints.tensor_update import TensorUpdate
from editor.methods.collateral_forecast import forecast_collateral
from editor.prompts import PromptBuilder, pair_encoders
from editor.publishing.deployment.canaries import rounded_updates
from editor.stats.correlation import rank_correlation
from editor.stats.intervals import estimate_mean

BAND_COUNT = 4
"""Bands of equally many prompts, ordered by forecast."""
GATE_GROUPS = {
    "neighbour_drop": ("neighbours", None),
    "retain_object_drop": ("retain", "object"),
    "retain_style_drop": ("retain", "style"),
}
"""Measure of a gate -> its prompt group, and the question to the judge (None: any)."""


def forecast_drops(
    checkpoint: Checkpoint,
    books: list[PromptBuilder],
    updates: list[TensorUpdate],
    validation: Validation,
) -> dict[str, float]:
    """Forecast the probability that each prompt loses what it asks for, from text space alone; the worst encoder counts."""
    drops: dict[str, float] = {}
    for encoder, book in pair_encoders(checkpoint, books):
        changes = rounded_updates(encoder, updates)
        texts = book.select_fitting(list(measured_drops(validation))) if changes else []
        for one in forecast_collateral(encoder, book, changes, texts) if texts else []:
            drops[one.prompt] = max(drops.get(one.prompt, 0.0), one.drop or 0.0)
    return drops


def measured_drops(validation: Validation) -> dict[str, float]:
    """Return the drop of the judge's accuracy on each prompt's images, averaged over the gates that cover the prompt."""
    drops: dict[str, list[float]] = {}
    for check in validation.checks:
        for group in gate_groups(check, validation):
            for prompt, drop in zip(group.prompts, check.observations, strict=False):
                drops.setdefault(prompt, []).append(drop)
    return {prompt: fmean(values) for prompt, values in drops.items()}


def gate_groups(check: Check, validation: Validation) -> list[GroupScore]:
    """Return the prompt group that a gate about retained concepts was decided by."""
    name, asks = GATE_GROUPS.get(check.measure, (None, None))
    return [g for g in validation.groups if g.group == name and g.removal == check.removal and asks in (None, g.asks)]


def calibrate(validation: Validation, foreseen: Mapping[str, float]) -> CollateralRecord | None:
    """Compare forecast and measurement in bands of the forecast. Return None if too few prompts have images."""
    measured = measured_drops(validation)
    pairs = sorted((foreseen[prompt], drop) for prompt, drop in measured.items() if prompt in foreseen)
    if len(pairs) < 2 * BAND_COUNT:
        return None
    bands = [
        CollateralBand(
            lowest=float(part[0, 0]),
            highest=float(part[-1, 0]),
            foreseen=float(part[:, 0].mean()),
            measured=estimate_mean(part[:, 1].tolist(), validation.confidence),
        )
        for part in np.array_split(np.asarray(pairs), BAND_COUNT)
    ]
    return CollateralRecord(
        prompts=len(pairs),
        foreseen=fmean(forecast for forecast, _ in pairs),
        measured=estimate_mean([drop for _, drop in pairs], validation.confidence),
        correlation=rank_correlation(pairs),
        bands=bands,
    )
