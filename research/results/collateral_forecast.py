"""Forecast collateral damage against measured damage, prompt by prompt: ``python -m research.results foreseen``."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from pydantic import BaseModel
from torch import Tensor

from editor.checkpoints import OutputProjection
from editor.emoji.vocabulary import OBJECT_NAMES
from editor.generation.config import ImageSpec
from editor.methods.collateral_forecast import drop_probability, forecast_collateral
from editor.methods.config import MethodConfig
from editor.methods.encoder_edit import edit_encoder
from editor.prompts.templates import evenly_spaced
from editor.stats.correlation import rank_correlation
from research.emoji.erasure_capacity import make_removals
from research.harness import EmbeddedModel, other_phrases

SEEDS = 3
CASES: tuple[tuple[int, float | None], ...] = ((10, None), (50, None), (10, 4.0))
"""Number of removed objects, and the preservation weight; None: found by the search. The last case preserves too little."""
BINS = 6


class ForecastRow(BaseModel):
    """One edit: forecast and measured damage of each retain prompt."""

    removals: int
    preservation: float
    change: list[float]
    """Relative change of the attention output at the edited layer."""
    moved: list[float]
    """Relative change of the last states at EOS and padding."""
    damage: list[float]
    """Measured: 1 - cosine of the images before and after in the judge's space, mean over seeds."""
    lost: list[float]
    """Measured: share of seeds at which the object was found before and is not found after."""


def measure_edit(model: EmbeddedModel, count: int, preservation: float | None) -> ForecastRow:
    """Forecast the damage, then generate images and measure it."""
    names = evenly_spaced(OBJECT_NAMES, count)
    method = MethodConfig(preservation="auto" if preservation is None else preservation, spread=False)
    (done,) = edit_encoder(model.encoder, model.prompt_builder, make_removals(names), method)
    phrases = other_phrases(names)
    texts = [phrase.text() for phrase in phrases]
    deltas = {OutputProjection(0): done.update.up @ done.update.down}
    foreseen = forecast_collateral(model.encoder, model.prompt_builder, deltas, texts)
    forecasts = {one.prompt: one for one in foreseen}
    by_image = [phrase for phrase in phrases for _ in range(SEEDS)]
    before, after = model.generate_pairs([done], [ImageSpec(text, seed) for text in texts for seed in range(SEEDS)])
    damage = 1 - (model.embed_images(before) * model.embed_images(after)).sum(1)
    found_before, found_after = (
        torch.tensor(model.judge_hits(images, by_image, "object")) for images in (before, after)
    )
    return ForecastRow(
        removals=count,
        preservation=done.record.preservation,
        change=[forecasts[text].change for text in texts],
        moved=[forecasts[text].moved or 0.0 for text in texts],
        damage=mean_over_seeds(damage),
        lost=mean_over_seeds((found_before & ~found_after).double()),
    )


def mean_over_seeds(values: Tensor) -> list[float]:
    """Average over the seeds of each prompt."""
    return values.reshape(-1, SEEDS).mean(1).tolist()


def measure(model: EmbeddedModel) -> Iterator[ForecastRow]:
    """Measure every row."""
    yield from (measure_edit(model, count, preservation) for count, preservation in CASES)


def render(rows: list[ForecastRow]) -> str:
    """Render the section."""
    return "\n".join([TEXT, COLUMNS, *map(render_row, rows), "", FORECAST, BIN_COLUMNS, *render_bins(rows)])


def render_row(row: ForecastRow) -> str:
    """Render a row of the first table."""
    return (
        f"| {row.removals} | {row.preservation:g} | {len(row.damage)} | {render_correlation(row.moved, row.damage)} "
        f"| {render_correlation(row.change, row.damage)} | {sum(row.damage) / len(row.damage):.3f} "
        f"| {sum(row.lost) / len(row.lost):.3f} | {sum(map(drop_probability, row.moved)) / len(row.moved):.3f} |"
    )


def render_correlation(forecast: Sequence[float], measured: Sequence[float]) -> str:
    """Render a rank correlation with its interval."""
    correlation = rank_correlation(list(zip(forecast, measured, strict=True)))
    return f"{correlation.value:.2f} ({correlation.low:.2f} to {correlation.high:.2f})"


def fit_curve(rows: list[ForecastRow]) -> tuple[float, float]:
    """Fit the logistic curve to all prompts by maximum likelihood; return its middle and steepness."""
    moved = torch.tensor([value for row in rows for value in row.moved], dtype=torch.float64)
    lost = torch.tensor([value for row in rows for value in row.lost], dtype=torch.float64)
    curve = torch.tensor([-4.0, 8.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([curve], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.binary_cross_entropy_with_logits(curve[0] + curve[1] * moved, lost)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    offset, steepness = curve.tolist()
    return -offset / steepness, steepness


def render_bins(rows: list[ForecastRow]) -> Iterator[str]:
    """Render forecast against measurement for equal shares of all prompts, in ascending order of the forecast."""
    pairs = sorted(
        (drop_probability(moved), lost) for row in rows for moved, lost in zip(row.moved, row.lost, strict=True)
    )
    for index in range(BINS):
        part = pairs[index * len(pairs) // BINS : (index + 1) * len(pairs) // BINS]
        forecast, measured = (sum(values) / len(part) for values in zip(*part, strict=True))
        yield f"| {part[0][0]:.3f} to {part[-1][0]:.3f} | {forecast:.3f} | {measured:.3f} | {len(part)} |"


TEXT = f"""## Collateral forecast

Before an edit is applied, the change of every retain prompt is computed in text space. The measured *damage* is the change of
the image in the judge's space at equal seeds, mean of {SEEDS} seeds; *lost* is the share in which the object was found before
and is not found after. The table gives the rank correlation of the damage, over retain prompts, with the change of the
encoder's last states at EOS and padding, which the forecast uses, and with the change at the edited layer alone:
"""
COLUMNS = """| removed | weight | prompts | last states | edited layer | mean damage | lost | forecast |
|---|---|---|---|---|---|---|---|"""
FORECAST = """The forecast is a logistic curve of the last states' change, fitted to these same images
(`python -m research.results foreseen` prints the fit). On another model it ranks prompts, but its level is not calibrated.
"""
BIN_COLUMNS = """| forecast drop | mean forecast | measured | prompts |
|---|---|---|---|"""
