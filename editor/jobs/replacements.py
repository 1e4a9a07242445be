"""Automatic replacements: rank the names that could replace each object that is removed without a replacement."""

from __future__ import annotations

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
    if not any(requested.chooses_replacement for requested in request.removals):
        return Replacements()
    removals = resolve_request(request, builders[0])
    forecast = ReplacementForecast(first_site(checkpoint, builders), builders[0], removals)
    return Replacements(
        candidates=[
            rank_candidates(forecast, removal, judge) if requested.chooses_replacement else []
            for requested, removal in zip(request.removals, removals, strict=True)
        ]
    )


def rank_candidates(
    forecast: ReplacementForecast, removal: ResolvedRemoval, judge: Judge | None
) -> list[ReplacementCandidate]:
    """Rank the names of a concept's group by their forecast change of other prompts; its class in the profile comes last."""
    names = candidate_names(forecast.builder, removal, judge)
    parent = profile_class(removal.concept, forecast.builder.profile)
    compared = [*names, *([parent] if parent and parent not in names else [])]
    if not compared:
        return []
    similarity = judge_similarity(judge, removal, compared)
    apart = apart_names(similarity, compared)
    ranked = [
        ReplacementCandidate(name=name, change=change, similarity=similarity.get(name), told_apart=name in apart)
        for name, change in zip(compared, forecast.changes(removal, compared), strict=True)
    ]
    return sorted(ranked, key=lambda one: (one.name not in names, one.change, one.name))


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
