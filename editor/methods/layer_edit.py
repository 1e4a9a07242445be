"""One layer's edit: what to remove, what to retain, what to protect, and what to measure the result on."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add
from typing import get_args

import torch
from pydantic import TypeAdapter
from torch import Tensor

from api_schemas.report import ObjectiveRecord
from editor.io.progress import step, track
from editor.methods.adjustments import NO_ADJUSTMENTS, SolveAdjustments
from editor.methods.config import MethodConfig
from editor.prompts import PromptBuilder, PromptPair, ResolvedRemoval, TokenizedPrompt
from editor.prompts.concepts import ConceptKind, Phrase
from editor.prompts.templates import evenly_spaced
from editor.prompts.token_alignment import Role
from editor.sites.edit_site import EditSite
from editor.sites.key_value_pairs import (
    MAX_PADDING_POSITIONS,
    ROLE_WEIGHTS,
    WORD_WEIGHT,
    retained_positions,
    role_weights_for,
)
from editor.solver.fixed_point import FixedPointStatistics, quantization_step, quantize
from editor.solver.incremental_statistics import cache_key, load_statistics, store_statistics
from editor.solver.least_squares import Statistics
from editor.solver.preservation_search import HeldOut
from editor.solver.regression import RegressionRows, RetainedKeys
from editor.solver.subspaces import OrthogonalComplement, orthogonal_complement_of
from editor.solver.tensor_cache import NULL_CACHE, TensorCache, get_or_compute

HELD_OUT_RETAIN_PROMPTS = 96
HELD_OUT_PAIRS = 24
MIN_HELD_OUT_PAIRS_PER_REMOVAL = 4
RETAINED_NAME_PROMPTS = 8
"""Prompts with each name that the adjustments preserve."""
FEASIBILITY_PROMPTS = 4
"""Prompts of each removal that its feasibility is estimated from when there are many removals."""
PLACEHOLDER, PLACEHOLDER_LENGTHS = "x", (1, 2, 3)
"""Token that replaces the concept in a template, and its repetitions: most names have one to three tokens."""
MAX_MEASURED_REMOVALS = 100
"""Up to this many removals are measured individually."""
SAMPLED_REMOVALS = 32
"""Number of removals that are measured when there are more."""
REMOVAL_BATCH = 8
"""Removals whose rows are in memory at a time."""
REMOVALS = TypeAdapter(tuple[ResolvedRemoval, ...])
RemovalPair = tuple[ResolvedRemoval, PromptPair]
RemovalWeights = Mapping[ResolvedRemoval, float]
"""Extra weight of under-fitted removals; removals that are absent have weight 1."""


def canonical_order(removals: Iterable[ResolvedRemoval]) -> tuple[ResolvedRemoval, ...]:
    """Sort removals, so that a result does not depend on the order of a request."""
    return tuple(sorted(removals, key=repr))


@dataclass(frozen=True)
class LayerEdit:
    """The edit of one site.

    The rows of a few removals are collected and solved in reduced coordinates (:attr:`rows`). Of many removals only the
    statistics are summed, in fixed point (:attr:`statistics`).
    """

    site: EditSite
    builder: PromptBuilder
    removals: tuple[ResolvedRemoval, ...]
    """In canonical order."""
    method: MethodConfig
    cache: TensorCache = NULL_CACHE
    report_on: tuple[ResolvedRemoval, ...] = ()
    """Removals whose feasibility is reported; if empty, a sample."""
    adjustments: SolveAdjustments = NO_ADJUSTMENTS

    def prefetch(self) -> None:
        """Compute what the keys of all prompts have in common in one batch."""
        _ = self.protected_keys  # first: it frees its float64 weights, and later batches reuse its rows
        pairs = [pair for _, pair in (self.small_problem_pairs or []) + self.held_out_pairs]
        sides = [side for pair in pairs for side in (pair.concept, pair.destination)]
        protected = [self.builder.tokenize(""), *self.pinned_prompts]
        retained = [*self.retain_prompts, *self.held_out_retain_prompts]
        prompts = [*protected, *sides, *retained, *(prompt for prompt, _ in self.adjusted_prompts)]
        self.site.prefetch(prompts)

    # Protected keys: no update may change their values.

    @cached_property
    def pinned_prompts(self) -> list[TokenizedPrompt]:
        """The prompts that stay unchanged up to rounding."""
        return self.builder.tokenize_all([pin for pin in dict.fromkeys(self.method.pins) if pin])

    @cached_property
    def _protected_keys(self) -> tuple[Tensor, Tensor]:
        return self.site.protected_keys(self.builder.tokenize(""), self.pinned_prompts)

    @property
    def protected_keys(self) -> Tensor:
        """The keys of the empty prompt, and those after BOS of each pinned prompt, in float64."""
        return torch.cat(self._protected_keys)

    @property
    def null_keys(self) -> Tensor:
        """The keys of the empty prompt, (n, d). The first is BOS's, which is the same in every prompt."""
        return self._protected_keys[0]

    @cached_property
    def unprotected_subspace(self) -> OrthogonalComplement:
        """The directions that an update may act on: the null space of the protected keys."""
        return orthogonal_complement_of(self.protected_keys)

    # Rows of a few removals.

    @cached_property
    def small_problem_pairs(self) -> list[RemovalPair] | None:
        """All prompt pairs, if their rows and the retained keys are fewer than the layer's dimensions; else None."""
        retained = sum(len(positions) for prompt in self.retain_prompts for positions, _ in retained_positions(prompt))
        protected = self.builder.context_length * (1 + len(self.pinned_prompts))
        available = self.site.width - protected - retained
        if available <= len(self.removals):
            return None
        pairs = []
        for removal, pair in pairs_by_removal(self.removals, self.builder.edit_pairs):
            available -= max_rows(pair)
            if available <= 0:
                return None
            pairs.append((removal, pair))
        return pairs

    @cached_property
    def rows(self) -> RegressionRows:
        """The rows of all removals. Only for small problems."""
        assert self.small_problem_pairs is not None
        return self.rows_of(self.small_problem_pairs)

    def reweighted_rows(self, weights: RemovalWeights) -> RegressionRows:
        """Return :attr:`rows` with some removals weighted more."""
        assert self.small_problem_pairs is not None
        factors = torch.tensor([weights.get(removal, 1.0) for removal, _ in self.small_problem_pairs])
        return replace(self.rows, weights=self.rows.weights * factors[self.rows.pair_index])

    # Statistics of many removals.

    @cached_property
    def statistics(self) -> FixedPointStatistics:
        """The summed statistics of all removals, computed from the cached sum of an earlier set."""
        settings = (self.method.aim, str(ROLE_WEIGHTS), str(self.step), PLACEHOLDER, str(PLACEHOLDER_LENGTHS))
        name, key = f"sums-{self.site}", cache_key(self.builder.profile.model_dump_json(), *settings)
        cached = load_statistics(self.cache, name, key, REMOVALS, self.target_shape, self.step)
        with step(0.0, 0.9):
            current = cached.change_to(self.removals, self.statistics_of)
        if current.items != cached.items:
            store_statistics(self.cache, name, key, REMOVALS, current)
        return current.total

    @property
    def target_shape(self) -> tuple[int, int]:
        """Dimensions of the residuals, as the site gives them, and of the keys."""
        width = self.site.width
        return (len(self.site.norm_weight) if self.site.value_map is None else width), width

    @cached_property
    def step(self) -> float:
        """The quantization step of fixed-point statistics."""
        return quantization_step(self.null_keys)

    def statistics_of(self, removal: ResolvedRemoval) -> FixedPointStatistics:
        """Return the statistics of one removal.

        Matrix products round differently for each batch shape, so a removal is computed by itself, from a cache of the same
        content: that of its template.
        """
        pairs = self.builder.edit_pairs(removal)
        rows = self.template_sites[removal.concept.kind].isolated(pairs).rows(pairs, self.method.aim)
        return quantize(rows.statistics(), self.step, len(rows.key_index))

    @cached_property
    def template_sites(self) -> dict[ConceptKind, EditSite]:
        """For each kind of concept the site with a cache of its templates, and nothing else."""
        return {kind: self._template_site(kind) for kind in {removal.concept.kind for removal in self.removals}}

    def _template_site(self, kind: ConceptKind) -> EditSite:
        names = [" ".join([PLACEHOLDER] * n) for n in PLACEHOLDER_LENGTHS]
        prompts = [phrase.text() for name in names for phrase in self.builder.contexts(kind, name)]
        return self.site.template(self.builder.tokenize_all(["", *self.builder.select_fitting(prompts)]))

    def reweighted_statistics(self, weights: RemovalWeights) -> Statistics:
        """Return the statistics of all removals with some weighted more.

        The extra weight is added last, in canonical order. It needs no fixed point, because it belongs to this very set.
        """
        removals = canonical_order(weights)
        batches = (removals[start : start + REMOVAL_BATCH] for start in range(0, len(removals), REMOVAL_BATCH))
        extra = (self._extra_statistics(weights, batch) for batch in batches)
        total = reduce(add, extra, self.statistics.to_float64())
        return total if self.site.value_map is None else replace(total, target=self.site.value_map @ total.target)

    def _extra_statistics(self, weights: RemovalWeights, removals: Sequence[ResolvedRemoval]) -> Statistics:
        """Return what removals add beyond weight 1."""
        pairs = list(pairs_by_removal(removals, self.builder.edit_pairs))
        rows = self._key_rows_of(pairs)
        extra = torch.tensor([weights[removal] - 1 for removal, _ in pairs])[rows.pair_index]
        return replace(rows, weights=rows.weights * extra).statistics()

    @property
    def row_count(self) -> int:
        """Number of regression rows of all removals."""
        return self.statistics.row_count if self.small_problem_pairs is None else len(self.rows.key_index)

    # Retain prompts: the update should change them as little as possible.

    @cached_property
    def retain_phrases(self) -> tuple[Phrase, ...]:
        """All phrases that no removal concerns."""
        return self.builder.retain_phrases(self.removals)

    @cached_property
    def retain_prompts(self) -> list[TokenizedPrompt]:
        """A sample of the prompts to retain."""
        return self.builder.tokenize_all(self.builder.retain_texts(self.retain_phrases, self.site.max_retain_prompts))

    @cached_property
    def adjusted_prompts(self) -> list[tuple[TokenizedPrompt, float]]:
        """The retain prompts that the adjustments add, and their weights."""
        added = {one.prompt: one.weight for one in self.adjustments.retain_prompts}
        for one in self.adjustments.retain_names:
            contexts = evenly_spaced(self.builder.contexts(one.kind, one.name), RETAINED_NAME_PROMPTS)
            added |= {phrase.text(): one.weight for phrase in contexts}
        texts = self.builder.select_fitting(list(added))
        return [(prompt, added[prompt.text]) for prompt in self.builder.tokenize_all(texts)]

    @cached_property
    def retained_keys(self) -> RetainedKeys:
        """The keys of the retain prompts."""
        added = self.adjusted_prompts
        weights = torch.tensor([1.0] * len(self.retain_prompts) + [weight for _, weight in added], dtype=torch.float64)
        keys = self.site.retained([*self.retain_prompts, *(prompt for prompt, _ in added)])
        return replace(keys, weights=keys.weights * weights[keys.prompt_index])

    @property
    def retain_moment(self) -> Tensor:
        """The second moment of the retain prompts' keys, (d, d), cached between solves."""
        ids = torch.stack(
            [prompt.ids for prompt in [*self.retain_prompts, *(prompt for prompt, _ in self.adjusted_prompts)]]
        )
        weights = repr([weight for _, weight in self.adjusted_prompts])
        key = hashlib.sha256(ids.numpy().tobytes() + weights.encode()).hexdigest()
        return get_or_compute(self.cache, f"preserved-{self.site}", key, lambda: self.retained_keys.moment)

    @cached_property
    def retain_target(self) -> Tensor | None:
        """What is to be restored of the retain prompts, (o, d); None unless earlier layers were edited."""
        return self.retained_keys.target if self.site.follows_edits else None

    def objective_record(self) -> ObjectiveRecord:
        """Return what is needed to recompute the objective."""
        roles = role_weights_for(self.method.aim)
        return ObjectiveRecord(
            role_weights={role: getattr(roles, role) for role in get_args(Role)},
            word_weight=2 * WORD_WEIGHT,
            padding_positions=MAX_PADDING_POSITIONS,
            retain_prompts=len(self.retain_prompts),
            retain_limit=self.site.max_retain_prompts,
            retain_digest=digest_of(prompt.text for prompt in self.retain_prompts),
            held_out_digest=digest_of(self.held_out_retain_texts),
        )

    # Held-out prompts: the preservation weight is chosen on them.

    @property
    def measures_each_removal(self) -> bool:
        """Whether there are several removals, and few enough to measure each of them."""
        return 1 < len(self.removals) <= MAX_MEASURED_REMOVALS

    @cached_property
    def sampled_removals(self) -> list[ResolvedRemoval]:
        """The removals that are measured: all of them, or a sample of a long ledger."""
        return evenly_spaced(self.removals, MAX_MEASURED_REMOVALS if self.measures_each_removal else SAMPLED_REMOVALS)

    @cached_property
    def held_out_pairs(self) -> list[RemovalPair]:
        """A few prompt pairs of each sampled removal, in wordings that the edit does not use."""
        each = max(HELD_OUT_PAIRS // len(self.sampled_removals), MIN_HELD_OUT_PAIRS_PER_REMOVAL)
        return list(pairs_by_removal(self.sampled_removals, lambda one: self.builder.held_out_pairs(one, each)))

    @cached_property
    def held_out_retain_texts(self) -> list[str]:
        """Prompts to retain, in wordings that the edit does not use."""
        return self.builder.held_out_retain_texts(self.retain_phrases, HELD_OUT_RETAIN_PROMPTS)

    @cached_property
    def held_out_retain_prompts(self) -> list[TokenizedPrompt]:
        """The same, tokenized."""
        return self.builder.tokenize_all(self.held_out_retain_texts)

    @cached_property
    def held_out(self) -> HeldOut:
        """The held-out prompts as the solver needs them."""
        targets = self.rows_of(self.held_out_pairs)
        owners = torch.tensor([self.sampled_removals.index(removal) for removal, _ in self.held_out_pairs])
        retained, weight = self.site.retained(self.held_out_retain_prompts), self.site.norm_weight
        norms = retained.output_norms(weight)
        destination_norms = targets.value_norms(weight)
        return HeldOut(targets, owners[targets.pair_index], retained, norms, destination_norms, self.site.risk_curves)

    # Feasibility: how completely each concept can be removed.

    @property
    def reported_removals(self) -> Sequence[ResolvedRemoval]:
        """The removals whose feasibility is reported."""
        return self.report_on or evenly_spaced(self.removals, SAMPLED_REMOVALS)

    def feasibility_rows(self) -> Iterator[tuple[list[ResolvedRemoval], RegressionRows]]:
        """Yield rows to estimate feasibility from, and the removal of each of their pairs, some removals at a time."""
        if self.small_problem_pairs is not None:
            yield [removal for removal, _ in self.small_problem_pairs], self.rows
            return
        builder, reported = self.builder, self.reported_removals
        batches = [reported[start : start + SAMPLED_REMOVALS] for start in range(0, len(reported), SAMPLED_REMOVALS)]
        for batch in track(batches):
            pairs = list(
                pairs_by_removal(batch, lambda one: evenly_spaced(builder.edit_pairs(one), FEASIBILITY_PROMPTS))
            )
            yield [removal for removal, _ in pairs], self.rows_of(pairs)

    def rows_of(self, pairs: Sequence[RemovalPair]) -> RegressionRows:
        """Return rows whose residuals are in the space of the values."""
        rows = self._key_rows_of(pairs)
        return rows if self.site.value_map is None else replace(rows, residuals=rows.residuals @ self.site.value_map.T)

    def _key_rows_of(self, pairs: Sequence[RemovalPair]) -> RegressionRows:
        """Return rows as the site gives them, which are what statistics are summed from."""
        return self.site.rows([pair for _, pair in pairs], self.method.aim)


def pairs_by_removal(
    removals: Iterable[ResolvedRemoval], pairs_of: Callable[[ResolvedRemoval], Iterable[PromptPair]]
) -> Iterator[RemovalPair]:
    """Yield the prompt pairs of removals, each with its removal."""
    return ((removal, pair) for removal in removals for pair in pairs_of(removal))


def digest_of(texts: Iterable[str]) -> str:
    """Return the SHA-256 of texts in order, separated by newlines."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def max_rows(pair: PromptPair) -> int:
    """Return an upper bound of the number of rows of a pair."""
    return pair.concept.eos - pair.last_subject + 1 + MAX_PADDING_POSITIONS
