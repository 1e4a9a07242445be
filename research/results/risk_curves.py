"""Fit the curves of the search for the preservation weight to images: ``python -m research.results risk_curves``.

Joint removals of several sizes and single styles are edited with a range of preservation weights, in `emoji` at the first
layer and in `emoji-dit` at the text gate. The distance of a held-out prompt's output from the one that it should have is
compared with what its image shows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from pydantic import BaseModel
from torch import Tensor

from api_schemas.edits import EditOptions
from editor.checkpoints import OutputProjection
from editor.checkpoints.tensor_update import TensorUpdate, make_tensor_update
from editor.emoji.locate import EMBEDDED_MODELS
from editor.emoji.vocabulary import DEFAULT_STYLE, OBJECT_NAMES, STYLES
from editor.generation.config import ImageSpec
from editor.generation.edited_weights import edited_weights
from editor.generation.sampling import generate_images
from editor.methods.adjustments import NO_ADJUSTMENTS
from editor.methods.config import MethodConfig
from editor.methods.default import TRUNCATION_TOLERANCE, build_normal_equations
from editor.methods.encoder_edit import edit_encoder
from editor.methods.layer_edit import LayerEdit
from editor.methods.prepare_removals import prepare_removals
from editor.prompts import Concept, ResolvedRemoval, choose_destination, open_prompt_builders
from editor.prompts.concepts import ConceptKind
from editor.prompts.prompt_builder import name_spans
from editor.prompts.templates import evenly_spaced
from editor.sites.edit_site import EditSite
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import LazyCLIPTextModel
from editor.sites.registry import denoiser_sites
from editor.sites.stream_site import StreamSite
from editor.solver.low_rank_update import low_rank_factors
from editor.solver.risk_curves import CLIP_CURVES, TEXT_GATE_CURVES, RiskCurve
from research.emoji.erasure_capacity import make_removals
from research.harness import EmbeddedModel
from research.results.text_routes import RoutedModel

COUNTS: Mapping[str, Sequence[int]] = {"emoji": (1, 3, 10, 30, 50), "emoji-dit": (1, 10)}
"""Numbers of objects that are removed together from each model."""
REMOVED_STYLES: Mapping[str, Sequence[str]] = {
    "emoji": (),
    "emoji-dit": (*STYLES, "twemoji=fluent", "noto=fluent", "fluent=twemoji"),
}
"""Styles that are removed one at a time from each model, as on the command line."""
POWERS: Mapping[str, Sequence[int]] = {"emoji": (0, 2, 4, 6, 8, 10), "emoji-dit": (-2, -1, 0, 1, 2, 4)}
"""Exponents of the preservation weights."""
CURVES = {"emoji": CLIP_CURVES, "emoji-dit": TEXT_GATE_CURVES}
BIN_WIDTH = 0.1
MIN_BIN_IMAGES = 20
DIGITS = 4
"""Decimal places of the distances that are kept."""
Names = tuple[str, ...]
"""The object of a prompt or an image, and its style if a style is removed."""


class RiskRow(BaseModel):
    """One joint removal with one preservation weight. Prompts whose reference the judge does not recognise are left out."""

    model: str
    removed: str
    """What is removed: a number of objects, or a style."""
    preservation: float
    spoiled: list[tuple[float, bool]]
    """Of each retain prompt the relative distance of its output, and whether its image shows another object; or, where a style
    was removed, another style."""
    missed: list[tuple[float, bool]]
    """The same of each prompt with a removed concept and its destination."""
    found: list[tuple[float, bool]]
    """Of these the share of the distance that remains, and whether the image shows the removed concept."""


def named_in(text: str, kind: ConceptKind) -> str:
    """Return the object or the style that a prompt names; the default style if it names none."""
    if kind == "object":
        return max((name for name in OBJECT_NAMES if name_spans(name, text)), key=len)
    return next((name for name in STYLES if name_spans(name, text)), DEFAULT_STYLE)


@dataclass(frozen=True)
class CurveStudy:
    """One removal from one model, at the site whose curves are fitted."""

    model: RoutedModel
    removed: str
    removals: Sequence[ResolvedRemoval]

    @cached_property
    def site(self) -> EditSite:
        """The first layer of the text encoder, or the text gate."""
        checkpoint = self.model.checkpoint
        if self.model.name == "emoji-dit":
            sites = denoiser_sites(checkpoint, open_prompt_builders(checkpoint), EditOptions(sites="all"))
            return next(site for site in sites if site.name == "text_gate")
        encoder = LazyCLIPTextModel(checkpoint.encoders[0])
        return Site(encoder, encoder, OutputProjection(0))

    @cached_property
    def edit(self) -> LayerEdit:
        """The edit of the site."""
        composed, _ = prepare_removals(self.removals, (), self.model.prompts, NO_ADJUSTMENTS)
        return LayerEdit(self.site, self.model.prompts, composed, MethodConfig())

    @cached_property
    def encoder_updates(self) -> list[TensorUpdate]:
        """The updates of the text encoder that a request makes beside those of a text gate."""
        if isinstance(self.site, Site):
            return []
        return [
            one.update for one in edit_encoder(self.model.checkpoint.encoders[0], self.model.prompts, self.removals)
        ]

    def site_updates(self, up: Tensor, down: Tensor) -> list[TensorUpdate]:
        """Return the updates of the site's tensors."""
        if isinstance(self.site, StreamSite):
            return self.site.weights.updates(self.site.weights.to_stream_space(up), down)
        assert isinstance(self.site, Site)
        return [make_tensor_update(self.site.base.source, self.site.projection.weight_name, up, down)]

    @property
    def kinds(self) -> tuple[ConceptKind, ...]:
        """What is compared: the object, and the style if a style is removed."""
        return ("object", "style") if any(one.concept.kind == "style" for one in self.removals) else ("object",)

    def names_in(self, texts: Iterable[str]) -> list[Names]:
        """Return the names of each prompt that are compared."""
        return [tuple(named_in(text, kind) for kind in self.kinds) for text in texts]

    def recognise(self, texts: Sequence[str], updates: Sequence[TensorUpdate] = ()) -> list[Names]:
        """Generate an image of each prompt with edited weights, and return the names that the judge sees in it."""
        with edited_weights(self.model.pipeline, updates):
            images = generate_images(self.model.pipeline, self.model.sampler, [ImageSpec(text, 0) for text in texts])
        return list(zip(*(self.model.recognise(images, kind) for kind in self.kinds), strict=True))

    def measure(self) -> Iterator[RiskRow]:
        """Edit with every weight, generate and judge."""
        edit = self.edit
        edit.prefetch()
        pairs, retained = [pair for _, pair in edit.held_out_pairs], edit.held_out_retain_texts
        targets = [pair.concept.text for pair in pairs]
        references = [pair.destination.text for pair in pairs] + retained
        expected = self.names_in(references)
        drawn = [seen == named for seen, named in zip(self.recognise(references), expected, strict=True)]
        equations = build_normal_equations(edit, {})
        for power in POWERS[self.model.name]:
            up, down = equations.to_weight_space(*low_rank_factors(equations.solve(2.0**power), TRUNCATION_TOLERANCE))
            shown = self.recognise(targets + retained, [*self.encoder_updates, *self.site_updates(up, down)])
            off = [seen != named for seen, named in zip(shown, expected, strict=True)]
            found = [shows_removed(*one) for one in zip(shown, self.names_in(targets), expected, strict=False)]
            distances, remaining = target_distances(edit, up, down)
            yield RiskRow(
                model=self.model.name,
                removed=self.removed,
                preservation=2.0**power,
                spoiled=select_drawn(edit.held_out.drift(up, down), off[len(targets) :], drawn[len(targets) :]),
                missed=select_drawn(distances, off, drawn),
                found=select_drawn(remaining, found, drawn),
            )


def shows_removed(seen: Names, named: Names, wanted: Names) -> bool:
    """Return whether an image shows the object or the style that its prompt names, where another one was wanted."""
    return any(one == before != after for one, before, after in zip(seen, named, wanted, strict=True))


def target_distances(edit: LayerEdit, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each target pair is from its destination: relative to it, and to the distance before the edit."""
    held_out = edit.held_out
    squares = held_out.targets.squared_residuals(lambda keys: keys @ down.T @ up.T)
    distances, before = (held_out.pair_norms(one) for one in (squares, held_out.targets.residuals.square().sum(1)))
    return distances / held_out.destination_norms, distances / before


def select_drawn(distances: Tensor, outcomes: Sequence[bool], drawn: Sequence[bool]) -> list[tuple[float, bool]]:
    """Return the distances and outcomes of prompts whose reference the model draws."""
    rows = zip(distances.tolist(), outcomes, drawn, strict=False)
    return [(round(distance, DIGITS), outcome) for distance, outcome, known in rows if known]


def studies(model: RoutedModel) -> Iterator[CurveStudy]:
    """Yield the removals that are measured on a model: numbers of objects, then styles."""
    for count in COUNTS[model.name]:
        yield CurveStudy(model, f"{count} object{'s' * (count > 1)}", make_removals(evenly_spaced(OBJECT_NAMES, count)))
    for removed in REMOVED_STYLES[model.name]:
        name, _, replacement = removed.partition("=")
        style = Concept(name, "style")
        destination = choose_destination(style, replacement or None, None, model.prompts.profile)
        yield CurveStudy(model, removed, [ResolvedRemoval(style, destination, spellings="auto")])


def measure(model: EmbeddedModel) -> Iterator[RiskRow]:
    """Measure every row."""
    for name, folder in EMBEDDED_MODELS.items():
        for study in studies(RoutedModel(name, folder)):
            yield from study.measure()


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
    midpoint, steepness = curve.detach().tolist()
    return midpoint, steepness


def render(rows: list[RiskRow]) -> str:
    """Render the section."""
    models = dict.fromkeys(row.model for row in rows)
    tables = (render_model(name, [row for row in rows if row.model == name]) for name in models)
    return "\n".join([TEXT, "\n\n".join(tables)])


def render_model(name: str, rows: list[RiskRow]) -> str:
    """Render what the images of one model show."""
    groups = [[point for row in rows for point in getattr(row, group)] for group in GROUPS]
    used = [getattr(CURVES[name], group) for group in GROUPS]
    fits = [fit_logistic(points) for points in groups]
    curves = [
        f"{group} {fit[0]:.2f} and {fit[1]:.1f} (in use: {use.midpoint:g} and {use.steepness:g})"
        for group, fit, use in zip(GROUPS, fits, used, strict=True)
    ]
    removed = ", ".join(dict.fromkeys(row.removed for row in rows))
    weights = ", ".join(f"{weight:g}" for weight in dict.fromkeys(row.preservation for row in rows))
    images = len(groups[0]) + len(groups[1])
    text = (
        f"`{name}`, {images} images: {removed}; weights {weights}. Fitted midpoint and steepness: {'; '.join(curves)}."
    )
    bins = [render_bin(number, groups, used) for number in range(round(1 / BIN_WIDTH))]
    return "\n".join([text, "", COLUMNS, *bins])


def render_bin(number: int, groups: Sequence[Sequence[tuple[float, bool]]], used: Sequence[RiskCurve]) -> str:
    """Render the row of one range of distances."""
    low, high = number * BIN_WIDTH, (number + 1) * BIN_WIDTH
    middle = torch.tensor((low + high) / 2)
    cells = [
        f"{share_within(points, low, high)} | {float(curve(middle)):.3f}"
        for points, curve in zip(groups, used, strict=True)
    ]
    return f"| {low:.1f} to {high:.1f} | {' | '.join(cells)} |"


def share_within(points: Sequence[tuple[float, bool]], low: float, high: float) -> str:
    """Return the share of outcomes within a range of distances, if there are enough."""
    outcomes = [outcome for distance, outcome in points if low <= distance < high]
    return f"{sum(outcomes) / len(outcomes):.3f}" if len(outcomes) >= MIN_BIN_IMAGES else ""


GROUPS = ("spoiled", "missed", "found")
TEXT = """## Curves of the preservation search

What images show, by the distance of a prompt's output from the one that it should have. Objects were removed together, and
styles one at a time, with a range of preservation weights: in `emoji` at the first layer of the text encoder, in `emoji-dit`
at the text gate beside the text encoder. *Spoiled* is the share of images of retain prompts that show another object, or
another style where a style was removed, by the relative distance; *missed* that of images of removed concepts that do not show
the destination. *Found* is the share that still shows the removed concept, by the share of the distance that remains. Beside
each is the curve in use.
"""
COLUMNS = """\
| distance | spoiled | curve | missed | curve | found | curve |
|---|---|---|---|---|---|---|"""
