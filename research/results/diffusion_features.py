"""Accuracy of probes of the UNet by block and timestep, and tests of Revelio's observations.

Run by ``python -m research.results diffusion_features``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from pydantic import BaseModel
from tqdm import tqdm

from api_schemas.report import Estimate
from editor.io.plotting import create_figure, render_png
from editor.stats.intervals import estimate_mean
from research.emoji_features.layer_timestep_sweep import (
    CELLS,
    LAYERS,
    METHODS,
    OBJECT_FOLDS,
    TASKS,
    TIMESTEPS,
    VARIANTS,
    Cell,
    Label,
    Method,
    Split,
    load_or_measure,
    record_artwork,
)
from research.harness import EmbeddedModel

FOLDER = Path("build/features")
CellAccuracies = dict[Cell, list[float]]
"""Accuracy on each object's test rows, by cell."""
UNSEEN: dict[Split, str] = {
    "foundry": "a foundry that was not in training",
    "object": "objects that were not in training",
    "composite": "the same pictures with other backgrounds and noise",
}
"""What is unseen in each split's test rows."""
METHOD_NAMES: dict[Method, str] = {"probe": "linear probe", "diffc": "Diff-C"}
IMAGE_FILE = "diffusion-features.png"


class CellAccuracy(BaseModel):
    """Accuracy at one block and timestep."""

    label: Label
    split: Split
    method: Method
    layer: str
    timestep: int
    accuracy: Estimate
    """Interval: bootstrap over objects."""


class Observation(BaseModel):
    """An observation that Revelio reports, as a difference of two accuracies, positive if it holds."""

    claim: str
    more: str
    less: str
    probe: Estimate
    diffc: Estimate


class Study(BaseModel):
    """All figures of the study."""

    figures: list[CellAccuracy]
    observations: list[Observation]


Location = tuple[Label, str, int]
"""Label, block and timestep."""
CLAIMS: tuple[tuple[str, Location, Location], ...] = (
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
"""The split whose accuracy is informative, because its test rows differ from training in more than the background."""


def measure(_: EmbeddedModel) -> Iterator[Study]:
    """Measure the study, which is the only row. Cells that were measured before are loaded."""
    stores = record_artwork(FOLDER / "artwork")
    accuracies = {cell: load_or_measure(stores, cell, FOLDER / "study") for cell in tqdm(CELLS, desc="cells")}
    yield Study(
        figures=[
            CellAccuracy(**vars(cell), accuracy=rounded_mean(by_object)) for cell, by_object in accuracies.items()
        ],
        observations=[check_claim(accuracies, *claim) for claim in CLAIMS],
    )


def rounded_mean(by_object: Sequence[float]) -> Estimate:
    """Return the mean over objects with its interval, to four digits."""
    found = estimate_mean(by_object)
    return Estimate(value=round(found.value, 4), low=round(found.low, 4), high=round(found.high, 4), n=found.n)


def check_claim(accuracies: CellAccuracies, claim: str, more: Location, less: Location) -> Observation:
    """Return the differences of two accuracies, object by object."""

    def difference(method: Method) -> Estimate:
        cells = (Cell(label, SPLIT_OF[label], method, layer, timestep) for label, layer, timestep in (more, less))
        first, second = (np.array(accuracies[cell]) for cell in cells)
        return rounded_mean((first - second).tolist())

    return Observation(
        claim=claim,
        more=describe_location(more),
        less=describe_location(less),
        probe=difference("probe"),
        diffc=difference("diffc"),
    )


def describe_location(place: Location) -> str:
    """``"object, up_blocks.0, t = 25"``."""
    return f"{place[0]}, {place[1]}, t = {place[2]}"


def judge_claim(difference: Estimate) -> Literal["holds", "fails", "open"]:
    """Return whether the interval is above zero, below it, or includes it."""
    return "holds" if difference.low > 0 else "fails" if difference.high < 0 else "open"


def render(rows: list[Study]) -> str:
    """Render the section."""
    (study,) = rows
    parts = [TEXT.format(best="\n".join(map(render_best, figures_by_task(study)))), ALT]
    for figures in informative_tasks(study):
        parts += [
            f"\n### {figures[0].label.capitalize()}, tested on {UNSEEN[figures[0].split]}\n",
            *render_table(figures),
        ]
    return "\n".join([*parts, *render_observations(study.observations)])


def figures_by_task(study: Study) -> list[list[CellAccuracy]]:
    """Return the figures of each task, a label with a split."""
    return [own for task in TASKS if (own := [f for f in study.figures if (f.label, f.split) == task])]


def informative_tasks(study: Study) -> list[list[CellAccuracy]]:
    """Return the figures of the tasks whose test rows differ from training in more than the background."""
    return [figures for figures in figures_by_task(study) if figures[0].split == SPLIT_OF[figures[0].label]]


def render_best(figures: Sequence[CellAccuracy]) -> str:
    """Render the best cell of each method for a task."""
    cells = " | ".join(render_top_cell([f for f in figures if f.method == method]) for method in METHODS)
    return f"| {figures[0].label} | {UNSEEN[figures[0].split]} | {cells} |"


def render_top_cell(figures: Sequence[CellAccuracy]) -> str:
    """Render the best cell of one method."""
    found = max(figures, key=lambda f: f.accuracy.value)
    return f"{render_interval(found.accuracy)} at `{found.layer}`, t = {found.timestep}"


def render_interval(found: Estimate) -> str:
    """``0.49 (0.44 to 0.54)``."""
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def render_table(figures: Sequence[CellAccuracy]) -> list[str]:
    """Render accuracies of blocks by timesteps: probe / Diff-C."""
    value = {(f.method, f.layer, f.timestep): f"{f.accuracy.value:.2f}" for f in figures}
    lines = [f"| block | {' | '.join(f't = {t}' for t in TIMESTEPS)} |", "|---" * (len(TIMESTEPS) + 1) + "|"]
    for layer in LAYERS:
        cells = (" / ".join(value[method, layer, t] for method in METHODS) for t in TIMESTEPS)
        lines.append(f"| `{layer}` | {' | '.join(cells)} |")
    return lines


def render_observations(observations: Sequence[Observation]) -> list[str]:
    """Render Revelio's observations, and how many of them hold."""
    counts = {m: [judge_claim(getattr(o, m)) for o in observations] for m in METHODS}
    tally = "; ".join(
        f"{own.count('holds')} of {len(own)} hold by {METHOD_NAMES[m]}, {own.count('fails')} fail, {own.count('open')} are open"
        for m, own in counts.items()
    )
    lines = (
        f"| {o.claim} | {o.more} | {o.less} | {render_difference(o.probe)} | {render_difference(o.diffc)} |"
        for o in observations
    )
    return [OBSERVED.format(tally=tally), OBSERVED_COLUMNS, *lines]


def render_difference(difference: Estimate) -> str:
    """Render a difference with its interval and verdict."""
    return f"{difference.value:+.2f} ({difference.low:+.2f} to {difference.high:+.2f}), {judge_claim(difference)}"


def render_images(rows: list[Study]) -> dict[str, bytes]:
    """Render the heat maps: informative tasks side by side, the probe above Diff-C."""
    (study,) = rows
    shown = informative_tasks(study)
    figure = create_figure(3.2 * len(shown) + 0.6, 4.4)
    grid = figure.subplots(len(METHODS), len(shown), sharex=True, sharey=True)
    for line, method in enumerate(METHODS):
        for column, figures in enumerate(shown):
            plot_panel(grid[line][column], figures, method)
    for axes in grid[-1]:
        axes.set_xlabel("timestep", fontsize=8)
    return {IMAGE_FILE: render_png(figure)}


def plot_panel(axes: Axes, figures: Sequence[CellAccuracy], method: Method) -> None:
    """Plot blocks by timesteps. Both methods share one scale, which starts at chance, so that they can be compared."""
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


TEXT = f"""## What the UNet represents, by block and timestep

Revelio's protocol: the artwork in {VARIANTS} composites (background, shift and noise differ), noised to a timestep, passes once
through the UNet under the empty prompt. A linear probe reads a block's mean over positions, Diff-C (light variant) the whole
map. The meaning of an accuracy depends on what is unseen in the test rows: a tested foundry or object is not in the training
rows (five and {OBJECT_FOLDS} folds); a tested composite shows a picture that is. Intervals: bootstrap over the 96 objects. The
best of thirty cells is slightly optimistic. [Method](../how-to/diffusion-features.md).

| label | tested on | linear probe, best | Diff-C, best |
|---|---|---|---|
{{best}}

Tables: accuracy of the probe / of Diff-C. The heat map starts at chance: 0.01 for objects, 0.31 for groups (the largest group
has a third of all objects), 0.20 for styles.
"""
ALT = f"![Accuracy in per cent by block and timestep; darker is better](../images/{IMAGE_FILE})"
OBSERVED = """
### Revelio's observations

Each observation is a difference of two accuracies, object by object, with labels tested on an unseen foundry (object) or on
unseen objects (group, style); it is positive if the observation holds. Revelio's blocks are Stable Diffusion's; this UNet has
two up blocks, and the last one stands for Revelio's `up_ft2`. If the interval includes zero, the question is open. In all,
{tally}.
"""
OBSERVED_COLUMNS = """| observation | more | less | linear probe | Diff-C |
|---|---|---|---|---|"""
