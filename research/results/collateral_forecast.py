"""Foreseen collateral against measured damage, prompt by prompt."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from pydantic import BaseModel
from torch import Tensor

from editor.emoji.vocabulary import OBJECT_NAMES
from editor.generation.config import ImageSpec
from editor.methods.collateral_forecast import drop_probability, forecast_collateral
from editor.methods.config import MethodConfig
from editor.methods.default import edit_encoder
from editor.prompts.templates import evenly_spaced
from editor.stats.correlation import rank_correlation
from research.emoji.erasure_capacity import removals_of
from research.harness import Studio, others

SEEDS = 3
CASES: tuple[tuple[int, float | None], ...] = ((10, None), (50, None), (10, 4.0))
"""Objects removed at once, and the preservation weight; None is the search's. The last preserves too little on purpose."""
BINS = 6


class Row(BaseModel):
    """One edit: each retain prompt's foreseen and measured damage."""

    removals: int
    preservation: float
    change: list[float]
    """Relative change of the attention output at the edited layer."""
    moved: list[float]
    """Relative movement of the last states at EOS and padding."""
    damage: list[float]
    """Measured: 1 - cosine of the images before and after in the judge's space, mean over seeds."""
    lost: list[float]
    """Measured: share of seeds at which the object was found before and is not found after."""


def row(studio: Studio, count: int, preservation: float | None) -> Row:
    """Foresee, then draw."""
    names = evenly_spaced(OBJECT_NAMES, count)
    method = MethodConfig() if preservation is None else MethodConfig(preservation=preservation)
    (done,) = edit_encoder(studio.encoder, studio.book, removals_of(names), method)
    phrases = others(names)
    texts = [phrase.text() for phrase in phrases]
    delta = done.update.up @ done.update.down
    foreseen = {one.prompt: one for one in forecast_collateral(studio.encoder, studio.book, {0: delta}, texts)}
    every = [phrase for phrase in phrases for _ in range(SEEDS)]
    before, after = studio.both([done], [ImageSpec(text, seed) for text in texts for seed in range(SEEDS)])
    damage = 1 - (studio.seen(before) * studio.seen(after)).sum(1)
    was, still = (torch.tensor(studio.hits(images, every, "object")) for images in (before, after))
    return Row(
        removals=count,
        preservation=done.record.preservation,
        change=[foreseen[text].change for text in texts],
        moved=[foreseen[text].moved or 0.0 for text in texts],
        damage=mean(damage),
        lost=mean((was & ~still).double()),
    )


def mean(values: Tensor) -> list[float]:
    """Over the seeds of each prompt."""
    return values.reshape(-1, SEEDS).mean(1).tolist()


def measure(studio: Studio) -> Iterator[Row]:
    """Every row."""
    yield from (row(studio, count, preservation) for count, preservation in CASES)


def page(rows: list[Row]) -> str:
    """The section."""
    return "\n".join([TEXT, COLUMNS, *map(line, rows), "", FORECAST, BIN_COLUMNS, *bins(rows)])


def line(one: Row) -> str:
    """A row of the first table."""
    return (
        f"| {one.removals} | {one.preservation:g} | {len(one.damage)} | {interval(one.moved, one.damage)} "
        f"| {interval(one.change, one.damage)} | {sum(one.damage) / len(one.damage):.3f} "
        f"| {sum(one.lost) / len(one.lost):.3f} | {sum(map(drop_probability, one.moved)) / len(one.moved):.3f} |"
    )


def interval(foreseen: Sequence[float], measured: Sequence[float]) -> str:
    """A rank correlation with its interval."""
    found = rank_correlation(list(zip(foreseen, measured, strict=True)))
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def fit(rows: list[Row]) -> tuple[float, float]:
    """Middle and steepness of the logistic curve, by maximum likelihood over all prompts."""
    moved = torch.tensor([value for one in rows for value in one.moved], dtype=torch.float64)
    lost = torch.tensor([value for one in rows for value in one.lost], dtype=torch.float64)
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


def bins(rows: list[Row]) -> Iterator[str]:
    """Forecast against measured, by equal shares of all prompts, least first."""
    pairs = sorted(
        (drop_probability(moved), lost) for one in rows for moved, lost in zip(one.moved, one.lost, strict=True)
    )
    for index in range(BINS):
        part = pairs[index * len(pairs) // BINS : (index + 1) * len(pairs) // BINS]
        forecast, measured = (sum(side) / len(part) for side in zip(*part, strict=True))
        yield f"| {part[0][0]:.3f} to {part[-1][0]:.3f} | {forecast:.3f} | {measured:.3f} | {len(part)} |"


TEXT = f"""## Foreseen collateral

Before an edit is applied, the change of every retain prompt is computed in text space. Measured damage: how far the image
moves in the judge's space at equal seeds, mean of {SEEDS} seeds; *lost*: the object was found before and is not found after.
Rank correlation over retain prompts, of the damage with the movement of the encoder's last states at EOS and padding, which
the forecast goes by, and with the change at the edited layer alone:
"""
COLUMNS = """| removed | weight | prompts | last states | edited layer | mean damage | lost | forecast |
|---|---|---|---|---|---|---|---|"""
FORECAST = """The forecast is a logistic curve of that movement, fitted to these very images (`python -m research.results
foreseen` prints the fit); on another model it ranks, but its level is not calibrated.
"""
BIN_COLUMNS = """| forecast drop | mean forecast | measured | prompts |
|---|---|---|---|"""
