"""Automatic replacements: rank the names that could replace each object that is removed without a replacement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from api_schemas.edits import EditRequest
from api_schemas.report import ReplacementCandidate
from editor.checkpoints import Checkpoint
from editor.jobs.results import PhaseResult
from editor.methods.replacement_forecast import ReplacementForecast
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.automatic_replacement import common_nouns, sibling_names
from editor.prompts.concepts import profile_class
from editor.prompts.resolve_request import resolve_request
from editor.sites.registry import first_site

if TYPE_CHECKING:
    from editor.judging.judge import Judge


SEARCHED_CANDIDATES = 4
"""Names of least forecast change that are compared by what an edit would cost."""
MAX_SEARCHED_REMOVALS = 10
"""Removals without a replacement for which they are compared: it takes seconds for each. Of more, the forecast decides."""


class Replacements(PhaseResult):
    """The candidates of each removal of a request, best first; none for removals whose destination is not chosen."""

    candidates: list[list[ReplacementCandidate]] = Field(default_factory=list)

    @property
    def names(self) -> list[tuple[str, ...]]:
        """The names that may become the destination of each removal."""
        return [tuple(one.name for one in candidates if one.told_apart) for candidates in self.candidates]


def rank_replacements(
    request: EditRequest, checkpoint: Checkpoint, builders: Sequence[PromptBuilder], judge: Judge | None
) -> Replacements:
    """Rank the automatic replacements of a request. The result depends on request, model and judge only.

    Args:
        builders: the prompt builders of the model's text encoders.
        judge: excludes the names that it does not tell apart from the concept, and finds those of a concept that the profile
            does not list. None: the forecast alone decides, among the other names of the concept's group.
    """
    choosing = sum(requested.chooses_replacement for requested in request.removals)
    if not choosing:
        return Replacements()
    searched = SEARCHED_CANDIDATES if choosing <= MAX_SEARCHED_REMOVALS else 0
    removals = resolve_request(request, builders[0])
    forecast = ReplacementForecast(first_site(checkpoint, builders), builders[0], removals)
    return Replacements(
        candidates=[
            rank_candidates(forecast, removal, judge, searched) if requested.chooses_replacement else []
            for requested, removal in zip(request.removals, removals, strict=True)
        ]
    )


def rank_candidates(
    forecast: ReplacementForecast, removal: ResolvedRemoval, judge: Judge | None, searched: int
) -> list[ReplacementCandidate]:
    """Rank the names of a concept's group; its class in the profile comes last.

    The ``searched`` ones that are forecast to change other prompts least come first, by the held-out cost of the edit.
    """
    names = candidate_names(forecast.builder, removal, judge)
    parent = profile_class(removal.concept, forecast.builder.profile)
    compared = [*names, *([parent] if parent and parent not in names else [])]
    if not compared:
        return []
    similarity = judge_similarity(judge, removal, compared)
    apart = apart_names(similarity, compared)
    changes = dict(zip(compared, forecast.changes(removal, compared), strict=True))
    by_change = sorted(compared, key=lambda name: (name not in names, changes[name], name))
    best = [name for name in by_change if name in apart][:searched]
    costs = dict(zip(best, forecast.costs(removal, best), strict=True))
    return [
        ReplacementCandidate(
            name=name,
            change=changes[name],
            cost=costs.get(name),
            similarity=similarity.get(name),
            told_apart=name in apart,
        )
        for name in sorted(by_change, key=lambda name: (name not in names, costs.get(name, math.inf)))
    ]


def candidate_names(builder: PromptBuilder, removal: ResolvedRemoval, judge: Judge | None) -> list[str]:
    """Return the names that could replace a concept: of its group, or those that the judge finds most similar."""
    names = sibling_names(removal, builder)
    if names or judge is None:
        return names
    from editor.judging.told_apart import similar_names

    return common_nouns(similar_names(judge, builder, removal))


def judge_similarity(judge: Judge | None, removal: ResolvedRemoval, names: Sequence[str]) -> dict[str, float]:
    """Return the judge's similarity of each name to the concept; empty without a judge."""
    if judge is None:
        return {}
    from editor.judging.told_apart import similarities

    return similarities(judge, removal, names)


def apart_names(similarity: dict[str, float], names: Sequence[str]) -> set[str]:
    """Return the names that the judge tells apart from the concept; all without a judge."""
    if not similarity:
        return {*names}
    from editor.judging.told_apart import told_apart

    return told_apart(similarity)
