"""Select the latents that represent a concept; if there are none, the linear probe is the fallback.

Four scores are computed on the training rows of the unedited model: (a) difference of means over the pooled standard
deviation (d'); (b) AUC; (c) SAeUron's proportion score (arXiv 2501.18052); (d) Interpret-then-Deactivate's set difference
(arXiv 2503.09446). Selection is by (b); in addition a latent must not respond to the retained concepts, must be found by
other seeds, and must not be active almost everywhere. The other scores only enter the reported agreement.
"""

from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import torch
from torch import Tensor

from api_schemas.report import Estimate
from editor.errors import FeatureError
from editor.features.linear_probe import fit_probe
from editor.stats.auc import Ranking, auc, benjamini_hochberg, delong_interval

MAX_STRONGEST = 128
"""Strongest latents per row for the set difference; capped at an eighth of the dictionary."""
EPSILON = 1e-8


@dataclass(frozen=True)
class SelectionCriteria:
    """Thresholds that a latent must meet to represent a concept."""

    at_most: int = 5
    auc: float = 0.8
    retain_auc: float = 0.6
    stable_in: float = 2 / 3
    """Minimum share of other seeds with a similar decoder row (cosine 0.7)."""
    density: float = 0.2
    """Maximum share of rows in which the latent is active."""
    false_discoveries: float = 0.05


@dataclass(frozen=True)
class ConceptActivations:
    """Activations of the unedited model with and without a concept, one row per image or prompt."""

    rows: Tensor
    """``(n, width)`` activations, for the probe."""
    scores: Tensor
    """``(n, latents)`` pre-activations."""
    codes: Tensor
    """``(n, latents)``."""
    has: Tensor
    """``(n,)`` bool: the concept is present."""
    retain: Tensor
    """``(n,)`` bool: related concepts to be retained; disjoint from ``has``."""
    train: Tensor
    """``(n,)`` bool; the other rows are the test rows."""

    def select_rows(self, chosen: Tensor) -> "ConceptActivations":
        """Return some of the rows."""
        return ConceptActivations(*(part[chosen] for part in vars(self).values()))


@dataclass(frozen=True)
class ConceptLatent:
    """A latent that represents the concept, with its scores."""

    latent: int
    d_prime: float
    train_auc: float
    q_value: float
    retain_auc: float
    density: float
    stability: float
    auc: Estimate
    """AUC on the test rows."""


@dataclass(frozen=True)
class LatentSelection:
    """The selected latents."""

    concept_latents: tuple[ConceptLatent, ...]
    probe: Estimate
    """AUC of the linear probe on the test rows, for comparison."""
    agreement: float
    """Mean Jaccard overlap of the best latents by the four scores."""
    rejected: dict[str, int]
    """Reason -> number of latents with a sufficient AUC that were rejected for it."""
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    @property
    def has_latents(self) -> bool:
        """Whether any latent represents the concept; otherwise use the probe."""
        return bool(self.concept_latents)

    @property
    def latents(self) -> list[int]:
        """Latent indices, highest AUC first."""
        return [feature.latent for feature in self.concept_latents]

    def score(self, scores: Tensor) -> Tensor:
        """Score ``(n, latents)`` pre-activations as the mean of the standardized selected latents, ``(n,)``.

        Raises:
            FeatureError: no latent was selected.
        """
        if not self.has_latents:
            raise FeatureError("No latent represents the concept.", remedy="Use the linear probe instead.")
        chosen = scores[:, self.latents].double()
        return ((chosen - torch.tensor(self.centre)) / torch.tensor(self.scale)).mean(1)


def select_latents(
    activations: ConceptActivations, stability: Tensor, criteria: SelectionCriteria = SelectionCriteria()
) -> LatentSelection:
    """Select latents on the training rows and confirm them on the test rows.

    Args:
        stability: ``(latents,)`` share of other seeds that find each latent, from ``metrics.stable_share``.

    Raises:
        FeatureError: in one half, no row or every row has the concept.
    """
    train, test = activations.select_rows(activations.train), activations.select_rows(~activations.train)
    for half in (train, test):
        if not half.has.any() or half.has.all():
            raise FeatureError(
                "Training and test rows must each include rows with the concept and rows without.",
                field="has",
                remedy="Record more images or prompts of both kinds.",
            )
    scores = LatentScores.compute(train, stability)
    passing, rejected = scores.apply_criteria(criteria)
    candidates = [scores.measure(latent, test) for latent in passing[: criteria.at_most]]
    confirmed = [candidate for candidate in candidates if is_confirmed(candidate)]
    chosen = train.scores[:, [latent.latent for latent in confirmed]].double()
    return LatentSelection(
        concept_latents=tuple(confirmed),
        probe=probe_auc(train, test),
        agreement=scores.agreement(criteria.at_most),
        rejected=rejected | {"not confirmed on the test rows": len(candidates) - len(confirmed)},
        centre=tuple(chosen.mean(0).tolist()),
        scale=tuple(max(EPSILON, float(column.std())) for column in chosen.T),
    )


def is_confirmed(latent: ConceptLatent) -> bool:
    """Return whether the confidence interval of the test AUC is above chance."""
    return latent.auc.low > 0.5


def probe_auc(train: ConceptActivations, test: ConceptActivations) -> Estimate:
    """Return the test AUC of a linear probe on the raw rows."""
    probe = fit_probe(train.rows, [class_name(has) for has in train.has.tolist()])
    logits = probe.logits(test.rows)
    column = probe.classes.index(class_name(True))
    return delong_interval(logits[:, column] - logits[:, 1 - column], test.has)


def class_name(has: bool) -> str:
    """Name the probe's two classes."""
    return "concept" if has else "other"


@dataclass(frozen=True)
class LatentScores:
    """Scores of every latent, each ``(latents,)``."""

    d_prime: Tensor
    auc: Tensor
    q_value: Tensor
    proportion: Tensor
    set_difference: Tensor
    retain_auc: Tensor
    density: Tensor
    stability: Tensor

    @classmethod
    def compute(cls, train: ConceptActivations, stability: Tensor) -> "LatentScores":
        """Compute the scores on the training rows."""
        others, ranking = ~train.has, Ranking.of(train.scores)
        return cls(
            d_prime=d_prime(train.scores, train.has),
            auc=ranking.auc(train.has),
            q_value=benjamini_hochberg(ranking.p_values(train.has)),
            proportion=proportion_score(train.codes, train.has),
            set_difference=set_difference(train.codes, train.has, train.retain if train.retain.any() else others),
            retain_auc=auc(train.scores[others], train.retain[others]),
            density=(train.codes > 0).double().mean(0),
            stability=stability,
        )

    def apply_criteria(self, criteria: SelectionCriteria) -> tuple[list[int], dict[str, int]]:
        """Return the latents that pass, highest AUC first, and the number of rejected latents by reason."""
        discriminative = (self.auc >= criteria.auc) & (self.q_value <= criteria.false_discoveries)
        faults = {
            "respond to retained concepts": self.retain_auc > criteria.retain_auc,
            "not found by other seeds": self.stability < criteria.stable_in - EPSILON,
            "active almost everywhere": self.density > criteria.density,
        }
        rejected = {reason: int((discriminative & fault).sum()) for reason, fault in faults.items()}
        passing = discriminative & ~torch.stack(list(faults.values())).any(0)
        order = self.auc.argsort(descending=True, stable=True)
        return [latent for latent in order.tolist() if passing[latent]], rejected

    def measure(self, latent: int, test: ConceptActivations) -> ConceptLatent:
        """Return the scores of one latent, with its AUC on the test rows."""
        return ConceptLatent(
            latent=latent,
            d_prime=float(self.d_prime[latent]),
            train_auc=float(self.auc[latent]),
            q_value=float(self.q_value[latent]),
            retain_auc=float(self.retain_auc[latent]),
            density=float(self.density[latent]),
            stability=float(self.stability[latent]),
            auc=delong_interval(test.scores[:, latent], test.has),
        )

    def agreement(self, count: int) -> float:
        """Return the mean overlap of the ``count`` best latents by each score; the set difference is ordered by AUC."""
        best = [set(values.topk(count).indices.tolist()) for values in (self.d_prime, self.auc, self.proportion)]
        only = self.auc.masked_fill(~self.set_difference, -1).topk(count).indices
        best.append({latent for latent in only.tolist() if self.set_difference[latent]})
        return fmean([len(one & other) / max(1, len(one | other)) for one, other in combinations(best, 2)])


def d_prime(scores: Tensor, has: Tensor) -> Tensor:
    """Return each latent's difference of means over the pooled standard deviation, ``(latents,)``."""
    with_it, without = scores[has].double(), scores[~has].double()
    pooled = ((with_it.var(0, correction=0) + without.var(0, correction=0)) / 2).sqrt()
    return (with_it.mean(0) - without.mean(0)) / pooled.clamp_min(EPSILON)


def proportion_score(codes: Tensor, has: Tensor) -> Tensor:
    """Return SAeUron's score: a latent's share of all activation on the concept, minus its share elsewhere."""
    with_it, without = codes[has].double().mean(0), codes[~has].double().mean(0)
    return with_it / (with_it.sum() + EPSILON) - without / (without.sum() + EPSILON)


def set_difference(codes: Tensor, has: Tensor, elsewhere: Tensor) -> Tensor:
    """Return whether a latent is among the strongest of a row with the concept and of no other row, ``(latents,)`` bool."""
    count = max(1, min(MAX_STRONGEST, codes.shape[1] // 8))
    return among_strongest(codes[has], count) & ~among_strongest(codes[elsewhere], count)


def among_strongest(codes: Tensor, count: int) -> Tensor:
    """Return whether a latent is active and among the ``count`` strongest of any row, ``(latents,)`` bool."""
    values, latents = codes.topk(count, dim=1)
    return torch.zeros(codes.shape[1], dtype=torch.bool).index_fill_(0, latents[values > 0], True)
