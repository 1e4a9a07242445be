"""Compare the methods at equal sites, in text space: ``python -m research.results methods``.

No images are generated. Every method gets the same removals, prompts and sites, and is measured in held-out wordings at the
edited site: how far the concept's values are from its destination's, and how far other values moved.
"""

import time
from collections.abc import Iterator, Sequence
from statistics import fmean, median

import numpy as np
from pydantic import BaseModel
from torch import Tensor

from api_schemas.edits import MethodName, SiteName
from editor.checkpoints import OutputProjection, open_checkpoint
from editor.emoji import WEIGHTS
from editor.judging.neighbours import find_neighbours
from editor.methods.config import MethodConfig
from editor.methods.default import TRUNCATION_TOLERANCE, build_normal_equations
from editor.methods.layer_edit import LayerEdit
from editor.methods.registry import SOLVERS
from editor.prompts import ResolvedRemoval
from editor.prompts.concepts import ConceptKind
from editor.prompts.templates import evenly_spaced
from editor.sites.cross_attention import find_cross_attention
from editor.sites.edit_site import EditSite
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import LazyCLIPTextModel
from editor.solver.low_rank_update import low_rank_factors
from editor.solver.preservation_search import ALL_POWERS_OF_TWO
from editor.solver.regression import RetainedKeys
from research.harness import EmbeddedModel
from research.results.single_concept import all_removals

CONCEPTS = ("fox", "pizza", "owl", "guitar", "rocket", "ink", "noto")
NEIGHBOUR_PROMPTS = 8
"""Prompts of each neighbour."""


class MethodRow(BaseModel):
    """One removal by one method at one site."""

    site: SiteName
    method: MethodName
    concept: str
    kind: ConceptKind
    residual: float
    """Distance of the concept's values to its destination's, as a share of the distance before the edit."""
    default_residual: float
    """The same by the default method, with the preservation weight that gives the same retain drift as this method."""
    concept_drift: float
    """Mean relative change of the concept's values."""
    retain_drift: float
    """Mean relative change of the values of retain prompts."""
    neighbour_drift: float
    """The same of prompts that name the concept's nearest neighbours."""
    null_drift: float
    """The same of the empty prompt."""
    seconds: float
    """CPU time of the solve, once the keys of the retain prompts are known."""


def open_sites(model: EmbeddedModel) -> dict[SiteName, EditSite]:
    """Return the sites that are compared."""
    encoder = LazyCLIPTextModel(model.encoder)
    cross_attention = find_cross_attention(open_checkpoint(WEIGHTS), [model.prompt_builder])
    assert cross_attention is not None
    return {"text_encoder": Site(encoder, encoder, OutputProjection(0)), "cross_attention": cross_attention}


def neighbour_texts(model: EmbeddedModel, removal: ResolvedRemoval) -> list[str]:
    """Return prompts that name the neighbours of a concept, in held-out wordings."""
    names = find_neighbours(model.judge, model.prompt_builder, removal, [removal]).names
    phrases = [
        phrase
        for name in names
        for phrase in evenly_spaced(model.prompt_builder.contexts(removal.concept.kind, name), NEIGHBOUR_PROMPTS)
    ]
    return [phrase.text() for phrase in model.prompt_builder.in_held_out_wordings(phrases)]


def relative_change(retained: RetainedKeys, weight: Tensor, up: Tensor, down: Tensor) -> float:
    """Return the mean change of the prompts' values by ``up @ down``, relative to their norm."""
    changes = retained.prompt_norms(retained.keys @ down.T @ up.T)
    return float((changes / retained.prompt_norms(retained.keys @ weight.T)).mean())


def default_trade_off(edit: LayerEdit) -> tuple[list[float], list[float]]:
    """Return retain drift, ascending, and residual of the default method by preservation weight."""
    equations, points = build_normal_equations(edit, {}), []
    for power in ALL_POWERS_OF_TWO:
        up, down = equations.to_weight_space(*low_rank_factors(equations.solve(2.0**power), TRUNCATION_TOLERANCE))
        points.append((float(edit.held_out.drift(up, down).mean()), edit.held_out.residual(up, down)))
    drifts, residuals = zip(*sorted(points), strict=True)
    return list(drifts), list(residuals)


def measure_removal(name: SiteName, edit: LayerEdit, neighbours: Sequence[str]) -> Iterator[MethodRow]:
    """Measure one removal at one site by every method that has it."""
    (removal,), weight = edit.removals, edit.site.norm_weight.double()
    edit.prefetch()
    near = edit.site.retained(edit.builder.tokenize_all(neighbours))
    target = edit.site.retained([pair.concept for _, pair in edit.held_out_pairs])
    _ = edit.retained_keys, edit.held_out, edit.statistics
    trade_off = default_trade_off(edit)
    for method, solve in SOLVERS.items():
        if method == "diff_quickfix" and name != "text_encoder":
            continue
        start = time.process_time()
        solution = solve(edit)
        seconds = time.process_time() - start
        up, down = solution.up, solution.down
        retain_drift = float(edit.held_out.drift(up, down).mean())
        yield MethodRow(
            site=name,
            method=method,
            concept=removal.concept.name,
            kind=removal.concept.kind,
            residual=edit.held_out.residual(up, down),
            default_residual=float(np.interp(retain_drift, *trade_off)),
            concept_drift=relative_change(target, weight, up, down),
            retain_drift=retain_drift,
            neighbour_drift=relative_change(near, weight, up, down),
            null_drift=float((edit.null_keys @ down.T @ up.T).norm() / (edit.null_keys @ weight.T).norm()),
            seconds=seconds,
        )


def measure(model: EmbeddedModel) -> Iterator[MethodRow]:
    """Measure every row."""
    removals = [one for one in all_removals(model.prompt_builder) if one.concept.name in CONCEPTS]
    neighbours = [neighbour_texts(model, removal) for removal in removals]
    for name, site in open_sites(model).items():
        for removal, near in zip(removals, neighbours, strict=True):
            yield from measure_removal(name, LayerEdit(site, model.prompt_builder, (removal,), MethodConfig()), near)


def render(rows: list[MethodRow]) -> str:
    """Render the section."""
    groups = dict.fromkeys((row.site, row.method) for row in rows)
    return "\n".join(
        [TEXT, COLUMNS, *(render_row([row for row in rows if (row.site, row.method) == one]) for one in groups)]
    )


def render_row(rows: Sequence[MethodRow]) -> str:
    """Render a row of the table: the means of one method at one site, over objects and over styles."""
    by_kind = [[row for row in rows if row.kind == kind] for kind in ("object", "style")]
    cells = [
        " / ".join(f"{fmean(getattr(row, name) for row in group):.2f}" for group in by_kind)
        for name in ("residual", "default_residual", "concept_drift", "retain_drift", "neighbour_drift", "null_drift")
    ]
    seconds = median(row.seconds for row in rows)
    return f"| `{rows[0].site}` | `{rows[0].method}` | {' | '.join(cells)} | {seconds:.2f} |"


TEXT = f"""## Methods side by side

The [methods](../explanation/methods.md) at equal sites, with equal removals and prompts: {", ".join(CONCEPTS[:5])} and the
styles {" and ".join(CONCEPTS[5:])}, each removed alone. All figures are of values at the edited site, in held-out wordings.
They show what a method does to text and are no verdicts, since no image is generated. *Residual* is the distance of the
concept's values to its destination's, as a share of the distance before the edit: 0 is reached, 1 as far as before. *Default at
this drift* is the residual of the default method with the preservation weight that gives it the retain drift of the method.
*Drift* is the mean change of values, relative to their size: of prompts with the concept, of retain prompts, of prompts with
the concept's neighbours, and of the empty prompt. The first figure of a cell is the mean over objects, the second over styles.
*Seconds* are the median CPU time of a solve, once the keys of the retain prompts are known.
"""
COLUMNS = """\
| site | method | residual | default at this drift | concept drift | retain drift | neighbour drift | empty prompt | seconds |
|---|---|---|---|---|---|---|---|---|"""
