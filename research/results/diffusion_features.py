"""What can be read from the UNet, where and when: accuracy by block and timestep; Revelio's observations put to the test."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from pydantic import BaseModel
from tqdm import tqdm

from api_schemas.report import Estimate
from editor.io.plotting import canvas, png
from editor.stats.intervals import estimate_mean
from research.emoji_features.layer_timestep_sweep import (
    CELLS,
    LAYERS,
    METHODS,
    OBJECT_FOLDS,
    QUESTIONS,
    TIMESTEPS,
    VARIANTS,
    Cell,
    Label,
    Method,
    Split,
    measured,
    recorded,
)
from research.harness import Studio

FOLDER = Path("build/features")
ByObject = dict[Cell, list[float]]
NEW: dict[Split, str] = {
    "foundry": "a foundry whose hand was never trained on",
    "object": "objects that were never trained on",
    "composite": "the same pictures on other backgrounds, with other noise",
}
METHOD_NAMES: dict[Method, str] = {"probe": "linear probe", "diffc": "Diff-C"}
PICTURE = "diffusion-features.png"


class Figure(BaseModel):
    """Accuracy at one block and timestep."""

    label: Label
    split: Split
    method: Method
    layer: str
    timestep: int
    accuracy: Estimate
    """Interval: bootstrap over objects."""


class Observation(BaseModel):
    """Something that Revelio reports, as a difference of two accuracies that shall be above zero."""

    claim: str
    more: str
    less: str
    probe: Estimate
    diffc: Estimate


class Row(BaseModel):
    """The whole study."""

    figures: list[Figure]
    observations: list[Observation]


Place = tuple[Label, str, int]
"""Label, block and timestep."""
CLAIMS: tuple[tuple[str, Place, Place], ...] = (
    ("fine labels are read better after the bottleneck", ("object", "up_blocks.0", 25), ("object", "mid_block", 25)),
    ("coarse labels are read better in the bottleneck", ("group", "mid_block", 25), ("group", "up_blocks.0", 25)),
    ("the last block holds less of fine labels", ("object", "up_blocks.0", 25), ("object", "up_blocks.1", 25)),
    ("the last block holds less of coarse labels", ("group", "up_blocks.0", 25), ("group", "up_blocks.1", 25)),
    ("texture is in the last block", ("style", "up_blocks.1", 25), ("style", "mid_block", 25)),
    ("fine labels are read early", ("object", "up_blocks.0", 25), ("object", "up_blocks.0", 200)),
    ("coarse labels are read in the middle", ("group", "mid_block", 200), ("group", "mid_block", 25)),
    ("a little noise helps fine labels", ("object", "up_blocks.0", 25), ("object", "up_blocks.0", 0)),
    ("a little noise helps coarse labels", ("group", "mid_block", 25), ("group", "mid_block", 0)),
    ("much noise hurts fine labels", ("object", "up_blocks.0", 200), ("object", "up_blocks.0", 500)),
    ("much noise hurts coarse labels", ("group", "mid_block", 200), ("group", "mid_block", 500)),
)
CHANCE: dict[Label, float] = {"object": 1 / 96, "group": 30 / 96, "style": 1 / 5}
"""Accuracy of always naming the most frequent class."""
SPLIT_OF: dict[Label, Split] = {"object": "foundry", "group": "object", "style": "object"}
"""The split that tells something."""


def measure(_: Studio) -> Iterator[Row]:
    """One row; cells that were measured already are read back."""
    stores = recorded(FOLDER / "artwork")
    told = {cell: measured(stores, cell, FOLDER / "study") for cell in tqdm(CELLS, desc="cells")}
    yield Row(
        figures=[Figure(**vars(cell), accuracy=rounded(own)) for cell, own in told.items()],
        observations=[observation(told, *claim) for claim in CLAIMS],
    )


def rounded(by_object: Sequence[float]) -> Estimate:
    """Mean over objects, to four digits."""
    found = estimate_mean(by_object)
    return Estimate(value=round(found.value, 4), low=round(found.low, 4), high=round(found.high, 4), n=found.n)


def observation(told: ByObject, claim: str, more: Place, less: Place) -> Observation:
    """Differences object by object."""

    def difference(method: Method) -> Estimate:
        cells = (Cell(label, SPLIT_OF[label], method, layer, timestep) for label, layer, timestep in (more, less))
        first, second = (np.array(told[cell]) for cell in cells)
        return rounded((first - second).tolist())

    return Observation(
        claim=claim, more=words(more), less=words(less), probe=difference("probe"), diffc=difference("diffc")
    )


def words(place: Place) -> str:
    """``"object, up_blocks.0, t = 25"``."""
    return f"{place[0]}, {place[1]}, t = {place[2]}"


def verdict(difference: Estimate) -> Literal["holds", "fails", "open"]:
    """By which side of zero the whole interval lies on."""
    return "holds" if difference.low > 0 else "fails" if difference.high < 0 else "open"


def page(rows: list[Row]) -> str:
    """The section."""
    (row,) = rows
    parts = [TEXT.format(best="\n".join(map(best, questions(row)))), ALT]
    for one in telling(row):
        parts += [f"\n### {one[0].label.capitalize()}, tested on {NEW[one[0].split]}\n", *table(one)]
    return "\n".join([*parts, *observed(row.observations)])


def questions(row: Row) -> list[list[Figure]]:
    """The figures of each question that was put."""
    return [own for q in QUESTIONS if (own := [f for f in row.figures if (f.label, f.split) == q])]


def telling(row: Row) -> list[list[Figure]]:
    """Those whose test rows are new in more than the background."""
    return [figures for figures in questions(row) if figures[0].split == SPLIT_OF[figures[0].label]]


def best(figures: Sequence[Figure]) -> str:
    """Where each method reads a label best."""
    cells = " | ".join(top([f for f in figures if f.method == method]) for method in METHODS)
    return f"| {figures[0].label} | {NEW[figures[0].split]} | {cells} |"


def top(figures: Sequence[Figure]) -> str:
    """The best of one method."""
    found = max(figures, key=lambda f: f.accuracy.value)
    return f"{interval(found.accuracy)} at `{found.layer}`, t = {found.timestep}"


def interval(found: Estimate) -> str:
    """``0.49 (0.44 to 0.54)``."""
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def table(figures: Sequence[Figure]) -> list[str]:
    """Blocks by timesteps: probe, then Diff-C."""
    value = {(f.method, f.layer, f.timestep): f"{f.accuracy.value:.2f}" for f in figures}
    lines = [f"| block | {' | '.join(f't = {t}' for t in TIMESTEPS)} |", "|---" * (len(TIMESTEPS) + 1) + "|"]
    for layer in LAYERS:
        cells = (" / ".join(value[method, layer, t] for method in METHODS) for t in TIMESTEPS)
        lines.append(f"| `{layer}` | {' | '.join(cells)} |")
    return lines


def observed(observations: Sequence[Observation]) -> list[str]:
    """Revelio's observations, and the share that hold."""
    counts = {m: [verdict(getattr(o, m)) for o in observations] for m in METHODS}
    tally = "; ".join(
        f"{own.count('holds')} of {len(own)} hold by {METHOD_NAMES[m]}, {own.count('fails')} fail, {own.count('open')} are open"
        for m, own in counts.items()
    )
    lines = (f"| {o.claim} | {o.more} | {o.less} | {signed(o.probe)} | {signed(o.diffc)} |" for o in observations)
    return [OBSERVED.format(tally=tally), OBSERVED_COLUMNS, *lines]


def signed(difference: Estimate) -> str:
    """With its interval and what follows."""
    return f"{difference.value:+.2f} ({difference.low:+.2f} to {difference.high:+.2f}), {verdict(difference)}"


def pictures(rows: list[Row]) -> dict[str, bytes]:
    """The heat map: the questions that tell something beside each other, the probe over Diff-C."""
    (row,) = rows
    shown = telling(row)
    figure = canvas(3.2 * len(shown) + 0.6, 4.4)
    grid = figure.subplots(len(METHODS), len(shown), sharex=True, sharey=True)
    for line, method in enumerate(METHODS):
        for column, figures in enumerate(shown):
            panel(grid[line][column], figures, method)
    for axes in grid[-1]:
        axes.set_xlabel("timestep", fontsize=8)
    return {PICTURE: png(figure)}


def panel(axes: Axes, figures: Sequence[Figure], method: Method) -> None:
    """Blocks by timesteps. One scale for both methods, for they are to be compared; from chance on."""
    found = {(f.layer, f.timestep): 100 * f.accuracy.value for f in figures if f.method == method}
    values = np.array([[found[layer, t] for t in TIMESTEPS] for layer in LAYERS])
    low, high = 100 * CHANCE[figures[0].label], 100 * max(f.accuracy.value for f in figures)
    axes.imshow(values, cmap="Blues", vmin=low, vmax=high, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        colour = "white" if value > low + 0.6 * (high - low) else "black"
        axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_title(f"{figures[0].label}, {METHOD_NAMES[method]}", fontsize=9)
    axes.set_xticks(range(len(TIMESTEPS)), [str(t) for t in TIMESTEPS], fontsize=8)
    axes.set_yticks(range(len(LAYERS)), LAYERS, fontsize=8)


TEXT = f"""## What can be read from the UNet, and where

Revelio's protocol: the artwork in {VARIANTS} composites (background, shift and noise differ), noised to a timestep, goes once
through the UNet under the empty prompt. A linear probe reads a block's mean over positions, Diff-C (light variant) its whole
map. What is new in the test rows decides what an accuracy means: of a tested foundry or object nothing is trained on (five and
{OBJECT_FOLDS} folds); tested on composites, the picture is known. Intervals: bootstrap over the 96 objects. The best of
thirty places is a little too good. [How it is done](../how-to/diffusion-features.md).

| label | tested on | linear probe, best | Diff-C, best |
|---|---|---|---|
{{best}}

Tables: accuracy of the probe / of Diff-C. The heat map begins at chance: 0.01 for objects, 0.31 for groups (the largest is a
third of all), 0.20 for styles.
"""
ALT = f"![Accuracy in per cent by block and timestep, darker is better](../images/{PICTURE})"
OBSERVED = """
### Revelio's observations here

Each as a difference of two accuracies that it says is above zero, object by object, with the labels tested on a new foundry
(object) or on new objects (group, style). Revelio's blocks are Stable Diffusion's; here the UNet has two up blocks, so the last
one stands for its `up_ft2`. Where the interval holds zero, the question is open. In all, {tally}.
"""
OBSERVED_COLUMNS = """| observation | more | less | linear probe | Diff-C |
|---|---|---|---|---|"""
