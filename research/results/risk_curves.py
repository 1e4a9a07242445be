"""Fit the curves of the search for the preservation weight to images: ``python -m research.results risk_curves``.

Joint removals of several sizes are edited at the first layer with a range of preservation weights. The distance of a held-out
prompt's output from the one that it should have is compared with what its image shows.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from pydantic import BaseModel
from torch import Tensor

from editor.emoji.vocabulary import OBJECT_NAMES
from editor.generation.config import Image, ImageSpec
from editor.generation.sampling import generate_images
from editor.methods.config import MethodConfig
from editor.methods.default import TRUNCATION_TOLERANCE, build_normal_equations
from editor.methods.encoder_edit import make_tensor_edit
from editor.methods.layer_edit import LayerEdit, canonical_order
from editor.methods.solution import Solution
from editor.prompts.prompt_builder import name_spans
from editor.prompts.templates import evenly_spaced
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import LazyCLIPTextModel
from editor.solver.low_rank_update import low_rank_factors
from editor.solver.risk_curves import CLIP_CURVES
from research.emoji.erasure_capacity import make_removals
from research.harness import SAMPLER, EmbeddedModel

COUNTS = (1, 3, 10, 30, 50)
"""Numbers of objects that are removed together."""
POWERS = (0, 2, 4, 6, 8, 10)
"""Exponents of the preservation weights."""
BIN_WIDTH = 0.1
MIN_BIN_IMAGES = 20


class RiskRow(BaseModel):
    """One joint removal with one preservation weight. Prompts whose reference the judge does not recognise are left out."""

    removals: int
    preservation: float
    spoiled: list[tuple[float, bool]]
    """Of each retain prompt the relative distance of its output, and whether its image shows another object."""
    missed: list[tuple[float, bool]]
    """The same of each prompt with a removed object and its destination."""
    found: list[tuple[float, bool]]
    """Of these the share of the distance that remains, and whether the image shows the removed object."""


def named_object(text: str) -> str:
    """Return the longest object name in a prompt."""
    return max((name for name in OBJECT_NAMES if name_spans(name, text)), key=len)


def recognise_objects(model: EmbeddedModel, images: Sequence[Image]) -> list[str]:
    """Return the object that the judge sees in each image."""
    return model.judge.classify("object", model.judge.embed_images(images), model.judge.class_names("object"))[0]


def measure_removals(model: EmbeddedModel, count: int) -> Iterator[RiskRow]:
    """Edit with every weight, generate and judge."""
    encoder = LazyCLIPTextModel(model.encoder)
    removals = canonical_order(make_removals(evenly_spaced(OBJECT_NAMES, count)))
    site = Site(encoder, encoder, 0)
    edit = LayerEdit(site, model.prompt_builder, removals, MethodConfig())
    edit.prefetch()
    pairs = [pair for _, pair in edit.held_out_pairs]
    targets, retained = [pair.concept.text for pair in pairs], edit.held_out_retain_texts
    references = [pair.destination.text for pair in pairs] + retained
    expected = [named_object(text) for text in references]
    before = model.base_images.generate(model.pipeline, SAMPLER, [ImageSpec(text, 0) for text in references])
    drawn = [seen == name for seen, name in zip(recognise_objects(model, before), expected, strict=True)]
    equations = build_normal_equations(edit, {})
    for power in POWERS:
        factors = low_rank_factors(equations.solve(2.0**power), TRUNCATION_TOLERANCE)
        up, down = equations.to_weight_space(*factors)
        solution = Solution(up, down, edit.row_count, 2.0**power, equations.ridge, 0.0, 0.0)
        with model.with_edits([make_tensor_edit(site, edit, solution)]):
            images = generate_images(model.pipeline, SAMPLER, [ImageSpec(text, 0) for text in targets + retained])
        shown = recognise_objects(model, images)
        off = [seen != name for seen, name in zip(shown, expected, strict=True)]
        found = [seen == named_object(text) for seen, text in zip(shown, targets, strict=False)]
        distances, remaining = target_distances(edit, up, down)
        drift = edit.held_out.drift(up, down)
        yield RiskRow(
            removals=count,
            preservation=2.0**power,
            spoiled=select_drawn(drift, off[len(targets) :], drawn[len(targets) :]),
            missed=select_drawn(distances, off, drawn),
            found=select_drawn(remaining, found, drawn),
        )


def target_distances(edit: LayerEdit, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each target pair is from its destination: relative to it, and to the distance before the edit."""
    held_out = edit.held_out
    squares = held_out.targets.squared_residuals(lambda keys: keys @ down.T @ up.T)
    distances, before = (held_out.pair_norms(one) for one in (squares, held_out.targets.residuals.square().sum(1)))
    return distances / held_out.destination_norms, distances / before


def select_drawn(distances: Tensor, outcomes: Sequence[bool], drawn: Sequence[bool]) -> list[tuple[float, bool]]:
    """Return the distances and outcomes of prompts whose reference the model draws."""
    rows = zip(distances.tolist(), outcomes, drawn, strict=False)
    return [(distance, outcome) for distance, outcome, known in rows if known]


def measure(model: EmbeddedModel) -> Iterator[RiskRow]:
    """Measure every row."""
    for count in COUNTS:
        yield from measure_removals(model, count)


def fit_logistic(points: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    """Return the midpoint and the steepness of the logistic curve of greatest likelihood."""
    distances, outcomes = torch.tensor(points, dtype=torch.float64).T
    curve = torch.tensor([0.5, 10.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([curve], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(curve[1] * (distances - curve[0]), outcomes)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return float(curve[0]), float(curve[1])


def render(rows: list[RiskRow]) -> str:
    """Render the section."""
    spoiled, missed, found = ([point for row in rows for point in getattr(row, name)] for name in GROUPS)
    fits = [fit_logistic(points) for points in (spoiled + missed, found)]
    used = (CLIP_CURVES.missed, CLIP_CURVES.found)
    curves = [
        f"{name} {fit[0]:.2f} and {fit[1]:.1f} (in use: {use.midpoint:g} and {use.steepness:g})"
        for name, fit, use in zip(("spoiled or missed", "found"), fits, used, strict=True)
    ]
    text = f"{len(spoiled) + len(missed)} images. Fitted midpoint and steepness: {'; '.join(curves)}."
    bins = [render_bin(number, spoiled, missed, found) for number in range(round(1 / BIN_WIDTH))]
    return "\n".join([TEXT, text, "", COLUMNS, *bins])


def render_bin(number: int, *groups: Sequence[tuple[float, bool]]) -> str:
    """Render the row of one range of distances."""
    low, high = number * BIN_WIDTH, (number + 1) * BIN_WIDTH
    middle = torch.tensor((low + high) / 2)
    cells = [share_within(points, low, high) for points in groups]
    predicted = f"{float(CLIP_CURVES.missed(middle)):.3f}", f"{float(CLIP_CURVES.found(middle)):.3f}"
    return f"| {low:.1f} to {high:.1f} | {cells[0]} | {cells[1]} | {predicted[0]} | {cells[2]} | {predicted[1]} |"


def share_within(points: Sequence[tuple[float, bool]], low: float, high: float) -> str:
    """Return the share of outcomes within a range of distances, if there are enough."""
    outcomes = [outcome for distance, outcome in points if low <= distance < high]
    return f"{sum(outcomes) / len(outcomes):.3f}" if len(outcomes) >= MIN_BIN_IMAGES else ""


GROUPS = ("spoiled", "missed", "found")
TEXT = f"""## Curves of the preservation search

What images show, by the distance of a prompt's output from the one that it should have. {", ".join(map(str, COUNTS[:-1]))} and
{COUNTS[-1]} objects were removed together at the first layer, with the preservation weights
{", ".join(str(2**power) for power in POWERS)}. *Spoiled* is the share of images of retain prompts that show another object, by
the relative distance; *missed* that of images of removed objects that do not show the destination. *Found* is the share that
still shows the removed object, by the share of the distance that remains.
"""
COLUMNS = """\
| distance | spoiled | missed | curve | found | curve |
|---|---|---|---|---|---|"""
