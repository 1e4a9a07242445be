"""Foreseen against measured: what was told of each prompt about what must stay, and what became of its pictures."""

from collections.abc import Mapping
from statistics import fmean

import numpy as np

from api_schemas.judging import Check, GroupScore
from api_schemas.report import CollateralBand, CollateralRecord, Validation
from editor.checkpoints import Checkpoint
from editor.methods.collateral_forecast import forecast_collateral
from editor.methods.tensor_update import TensorUpdate
from editor.prompts import PromptBuilder
from editor.publishing.deployment.canaries import deltas
from editor.stats.correlation import rank_correlation
from editor.stats.intervals import estimate_mean

BANDS = 4
"""Of equally many prompts, by what was foreseen."""
ASKED = {
    "neighbour_drop": ("neighbours", None),
    "retain_object_drop": ("retain", "object"),
    "retain_style_drop": ("retain", "style"),
}
"""Which group of prompts a gate is about, and what the judge was asked."""


def forecasts(
    checkpoint: Checkpoint,
    builders: list[PromptBuilder],
    updates: list[TensorUpdate],
    layers: Mapping[str, int],
    validation: Validation,
) -> dict[str, float]:
    """Prompt -> the chance, told from text space alone, that it loses what it asks for; the worst encoder counts."""
    drops: dict[str, float] = {}
    for encoder, builder in zip(checkpoint.encoders, builders, strict=True):
        changes = deltas(encoder, updates, layers)
        texts = builder.select_fitting(list(measured(validation))) if changes else []
        for one in forecast_collateral(encoder, builder, changes, texts) if texts else []:
            drops[one.prompt] = max(drops.get(one.prompt, 0.0), one.drop or 0.0)
    return drops


def measured(validation: Validation) -> dict[str, float]:
    """Prompt -> how far the judge's accuracy fell on its pictures, averaged over what was asked of them."""
    drops: dict[str, list[float]] = {}
    for check in validation.checks:
        for group in groups_of(check, validation):
            for prompt, drop in zip(group.prompts, check.observations, strict=False):
                drops.setdefault(prompt, []).append(drop)
    return {prompt: fmean(falls) for prompt, falls in drops.items()}


def groups_of(check: Check, validation: Validation) -> list[GroupScore]:
    """The group that a gate about what must stay was decided by."""
    name, asks = ASKED.get(check.measure, (None, None))
    return [g for g in validation.groups if g.group == name and g.removal == check.removal and asks in (None, g.asks)]


def collateral(validation: Validation, foreseen: Mapping[str, float]) -> CollateralRecord | None:
    """Prompts in bands of what was foreseen; None where too few were drawn to say anything."""
    found = measured(validation)
    pairs = sorted((foreseen[prompt], drop) for prompt, drop in found.items() if prompt in foreseen)
    if len(pairs) < 2 * BANDS:
        return None
    bands = [
        CollateralBand(
            lowest=float(part[0, 0]),
            highest=float(part[-1, 0]),
            foreseen=float(part[:, 0].mean()),
            measured=estimate_mean(part[:, 1].tolist(), validation.confidence),
        )
        for part in np.array_split(np.asarray(pairs), BANDS)
    ]
    return CollateralRecord(
        prompts=len(pairs),
        foreseen=fmean(told for told, _ in pairs),
        measured=estimate_mean([drop for _, drop in pairs], validation.confidence),
        correlation=rank_correlation(pairs),
        bands=bands,
    )
