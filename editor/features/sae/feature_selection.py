"""Which latents stand for a concept, by four criteria; or an honest none, with the linear probe in their place.

The criteria, each computed on the train rows of the unedited model: (a) difference of means over the pooled standard
deviation; (b) AUC; (c) SAeUron's proportion score (arXiv 2501.18052); (d) Interpret-then-Deactivate's set difference
(arXiv 2503.09446). (b) decides, together with what makes a latent fit to be a witness: it is quiet on what is to be kept,
other seeds find it too, and it is not active everywhere. The others are reported with how far they agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from api_schemas.report import Estimate
from editor.errors import FeatureError
from editor.features.linear_probe import fit_probe
from editor.features.sae.model import SparseAutoencoder
from editor.stats.auc import Ranking, auc, benjamini_hochberg, delong_interval

MAX_STRONGEST = 128
"""Latents of a row that Interpret-then-Deactivate looks at; at most an eighth of the dictionary here."""
EPSILON = 1e-8


@dataclass(frozen=True)
class SelectionCriteria:
    """What a latent must be to stand for a concept."""

    at_most: int = 5
    auc: float = 0.8
    retain_auc: float = 0.6
    stable_in: float = 2 / 3
    """Share of other seeds that have a like of it (cosine 0.7)."""
    density: float = 0.2
    """Share of all rows in which it is active, at most."""
    false_discoveries: float = 0.05


@dataclass(frozen=True)
class ConceptActivations:
    """Rows of the unedited model, one for each image or prompt."""

    rows: Tensor
    """``(n, width)``, for the probe."""
    scores: Tensor
    """``(n, latents)`` pre-activations."""
    codes: Tensor
    """``(n, latents)``."""
    has: Tensor
    """``(n,)`` bool: the concept is there."""
    retain: Tensor
    """``(n,)`` bool: what is near to the concept and must stay; none of ``has``."""
    train: Tensor
    """``(n,)`` bool; the rest confirms."""

    def select_rows(self, chosen: Tensor) -> "ConceptActivations":
        """Some rows of it."""
        return ConceptActivations(*(part[chosen] for part in vars(self).values()))


@dataclass(frozen=True)
class ConceptLatent:
    """A latent that stands for the concept."""

    latent: int
    d_prime: float
    train_auc: float
    q_value: float
    retain_auc: float
    density: float
    stability: float
    auc: Estimate
    """On the test rows."""


@dataclass(frozen=True)
class LatentSelection:
    """What was found."""

    concept_latents: tuple[ConceptLatent, ...]
    probe: Estimate
    """AUC of the linear probe on the test rows: what a supervised reading of the same rows gives."""
    agreement: float
    """Mean overlap (Jaccard) of the best latents by the four criteria."""
    rejected: dict[str, int]
    """Why latents of a sufficient AUC were not taken, and how many."""
    centre: tuple[float, ...]
    scale: tuple[float, ...]

    @property
    def has_latents(self) -> bool:
        """Whether any latent stands for the concept; else score by the probe."""
        return bool(self.concept_latents)

    @property
    def latents(self) -> list[int]:
        """Best first."""
        return [feature.latent for feature in self.concept_latents]

    def score(self, scores: Tensor) -> Tensor:
        """``(n, latents)`` pre-activations -> ``(n,)``: the mean of the standardised latents that were chosen.

        Raises:
            FeatureError: none was.
        """
        if not self.has_latents:
            raise FeatureError("No feature stands for the concept.", remedy="Score by the linear probe.")
        chosen = scores[:, self.latents].double()
        return ((chosen - torch.tensor(self.centre)) / torch.tensor(self.scale)).mean(1)


def encode_concept_rows(
    sae: SparseAutoencoder, rows: Tensor, has: Tensor, retain: Tensor, train: Tensor
) -> ConceptActivations:
    """Encode ``(n, width)`` rows."""
    with torch.no_grad():
        return ConceptActivations(rows, sae.pre_activations(rows), sae.encode(rows), has, retain & ~has, train)


def select_latents(
    found: ConceptActivations, stability: Tensor, criteria: SelectionCriteria = SelectionCriteria()
) -> LatentSelection:
    """Choose by the train rows, confirm by the test rows.

    Args:
        stability: ``(latents,)``: share of other seeds that find each latent (``metrics.stable_share``).

    Raises:
        FeatureError: the concept is in no row or all rows of a half.
    """
    train, test = found.select_rows(found.train), found.select_rows(~found.train)
    for half in (train, test):
        if not half.has.any() or half.has.all():
            raise FeatureError(
                "Each half needs rows with the concept and rows without.",
                field="has",
                remedy="Record more prompts of both kinds.",
            )
    table = LatentScores.compute(train, stability)
    passing, refused = table.apply_criteria(criteria)
    features = [
        feature for latent in passing[: criteria.at_most] if is_confirmed(feature := table.measure(latent, test))
    ]
    chosen = train.scores[:, [feature.latent for feature in features]].double()
    return LatentSelection(
        concept_latents=tuple(features),
        probe=probe_auc(train, test),
        agreement=table.agreement(criteria.at_most),
        rejected=refused | {"not confirmed on the test rows": len(passing[: criteria.at_most]) - len(features)},
        centre=tuple(chosen.mean(0).tolist()),
        scale=tuple(max(EPSILON, float(column.std())) for column in chosen.T),
    )


def is_confirmed(feature: ConceptLatent) -> bool:
    """The whole interval on the test rows lies above chance."""
    return feature.auc.low > 0.5


def probe_auc(train: ConceptActivations, test: ConceptActivations) -> Estimate:
    """A logistic probe on the raw rows."""
    probe = fit_probe(train.rows, [class_name(has) for has in train.has.tolist()])
    logits = probe.logits(test.rows)
    column = probe.classes.index(class_name(True))
    return delong_interval(logits[:, column] - logits[:, 1 - column], test.has)


def class_name(has: bool) -> str:
    """The probe's two classes."""
    return "concept" if has else "other"


@dataclass(frozen=True)
class LatentScores:
    """The criteria for every latent: each ``(latents,)``."""

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
        """Computed on the train rows."""
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
        """Latents that fit, best AUC first; and why others that tell the concept do not."""
        telling = (self.auc >= criteria.auc) & (self.q_value <= criteria.false_discoveries)
        faults = {
            "respond to what is kept": self.retain_auc > criteria.retain_auc,
            "not found by other seeds": self.stability < criteria.stable_in - EPSILON,
            "active almost everywhere": self.density > criteria.density,
        }
        refused = {reason: int((telling & fault).sum()) for reason, fault in faults.items()}
        fit = telling & ~torch.stack(list(faults.values())).any(0)
        order = self.auc.argsort(descending=True, stable=True)
        return [latent for latent in order.tolist() if fit[latent]], refused

    def measure(self, latent: int, test: ConceptActivations) -> ConceptLatent:
        """One latent, measured on the test rows."""
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
        """Overlap of the ``count`` best by each criterion; those of the set difference come in the order of their AUC."""
        best = [set(values.topk(count).indices.tolist()) for values in (self.d_prime, self.auc, self.proportion)]
        only = self.auc.masked_fill(~self.set_difference, -1).topk(count).indices
        best.append({latent for latent in only.tolist() if self.set_difference[latent]})
        return mean([len(one & other) / max(1, len(one | other)) for one, other in combinations(best, 2)])


def mean(values: Sequence[float]) -> float:
    """Of at least one."""
    return sum(values) / len(values)


def d_prime(scores: Tensor, has: Tensor) -> Tensor:
    """Difference of the means over the pooled standard deviation."""
    with_it, without = scores[has].double(), scores[~has].double()
    pooled = ((with_it.var(0, correction=0) + without.var(0, correction=0)) / 2).sqrt()
    return (with_it.mean(0) - without.mean(0)) / pooled.clamp_min(EPSILON)


def proportion_score(codes: Tensor, has: Tensor) -> Tensor:
    """SAeUron's score: a latent's share of all activity on the concept, less its share elsewhere."""
    with_it, without = codes[has].double().mean(0), codes[~has].double().mean(0)
    return with_it / (with_it.sum() + EPSILON) - without / (without.sum() + EPSILON)


def set_difference(codes: Tensor, has: Tensor, elsewhere: Tensor) -> Tensor:
    """``(latents,)`` bool: among the strongest of some row with the concept, and of no row elsewhere."""
    count = max(1, min(MAX_STRONGEST, codes.shape[1] // 8))
    return among_strongest(codes[has], count) & ~among_strongest(codes[elsewhere], count)


def among_strongest(codes: Tensor, count: int) -> Tensor:
    """``(latents,)`` bool: active and among the ``count`` largest of any row."""
    values, latents = codes.topk(count, dim=1)
    return torch.zeros(codes.shape[1], dtype=torch.bool).index_fill_(0, latents[values > 0], True)
