"""The result of a trace: its specification, every score, and each site's effect with its interval."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from pydantic import Field
from safetensors.torch import load_file, save
from torch import Tensor

from api_schemas.report import Estimate
from editor.io.atomic import write_bytes
from editor.stats.intervals import estimate_mean
from editor.tracing.corruption import Sample
from editor.tracing.score_store import CLEAN, CORRUPTED, SITE_OFFSET
from editor.tracing.sites import BlockSite, FrozenModel, Site, TextSite

MIN_LOST_SCORE = 1e-9
"""A corruption that lowers the score by less than this has lost nothing that a site could restore."""


class TraceSpec(FrozenModel):
    """What was traced and how. Traces with equal specifications have equal scores."""

    model: str
    weights: str = Field("", description="sha256 over the model's weights files.")
    concept: str
    attribute: str
    read_out: str
    corruption: str
    precision: str = "float32"
    seed: int
    prompts: tuple[str, ...]
    places: tuple[str, ...] = Field(description="Labels of the text sites' places.")
    samples: tuple[tuple[int, int, int], ...] = Field(description="Prompt, draw of the corruption, seed of the image.")
    sites: tuple[Site, ...]

    @property
    def fingerprint(self) -> str:
        """sha256 of the whole specification."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def sample_tuples(samples: Sequence[Sample]) -> tuple[tuple[int, int, int], ...]:
    """Return samples in the form of `TraceSpec.samples`."""
    return tuple((sample.prompt, sample.draw, sample.seed) for sample in samples)


class SiteResult(FrozenModel):
    """One site's effect: the share of the score lost to the corruption that restoring the site recovers."""

    site: Site
    effect: Estimate


class TraceSummary(FrozenModel):
    """The content of ``trace.json``."""

    question: TraceSpec
    clean: Estimate = Field(description="Score of the clean runs.")
    corrupted: Estimate
    sites: list[SiteResult] = Field(description="Sites that at least one prompt has.")


@dataclass(frozen=True)
class Trace:
    """A finished trace."""

    spec: TraceSpec
    scores: Tensor
    """``(samples, SITE_OFFSET + sites)`` float64: clean, corrupted, then every site; NaN if the prompt lacks the site."""

    @cached_property
    def units(self) -> Tensor:
        """The independent observation of each sample, ``(samples,)``: its prompt, or its draw if there is one prompt only."""
        samples = torch.tensor(self.spec.samples)
        return samples[:, 0] if len(self.spec.prompts) > 1 else torch.arange(len(samples))

    def mean_by_unit(self, values: Tensor) -> Tensor:
        """Average over each unit's samples, ``(samples, n)`` -> ``(units, n)``."""
        return torch.stack([values[self.units == unit].nanmean(0) for unit in sorted(set(self.units.tolist()))])

    @property
    def lost_score(self) -> float:
        """By how much the corruption lowers the score, on average."""
        return float((self.scores[:, CLEAN] - self.scores[:, CORRUPTED]).mean())

    @cached_property
    def restored_shares(self) -> Tensor:
        """The share of the lost score that each site restores, ``(units, sites)``; zeros if nothing was lost."""
        gain = self.scores[:, SITE_OFFSET:] - self.scores[:, CORRUPTED, None]
        return self.mean_by_unit(gain / self.lost_score if abs(self.lost_score) > MIN_LOST_SCORE else gain * 0)

    @cached_property
    def effects(self) -> dict[Site, Estimate]:
        """The effect of every site that some prompt has: mean, 95 % interval and number of observations."""
        columns = zip(self.spec.sites, self.restored_shares.T, strict=True)
        return {site: estimate_mean(s[~s.isnan()].tolist()) for site, s in columns if not s.isnan().all()}

    def rank_sites(self) -> list[Site]:
        """Return the sites in descending order of their effect."""
        return sorted(self.effects, key=lambda site: -self.effects[site].value)

    def difference(self, site: Site, other: Site) -> Estimate:
        """Return by how much ``site`` restores more than ``other``, paired by observation."""
        first, second = (self.restored_shares[:, self.spec.sites.index(s)] for s in (site, other))
        differences = first - second
        return estimate_mean(differences[~differences.isnan()].tolist())

    @property
    def summary(self) -> TraceSummary:
        """The trace without its score tensor."""
        clean, corrupted = (self.mean_by_unit(self.scores[:, [c]])[:, 0].tolist() for c in (CLEAN, CORRUPTED))
        sites = [SiteResult(site=site, effect=effect) for site, effect in self.effects.items()]
        return TraceSummary(
            question=self.spec, clean=estimate_mean(clean), corrupted=estimate_mean(corrupted), sites=sites
        )

    def save(self, folder: Path) -> list[Path]:
        """Write ``trace.safetensors`` and, last, ``trace.json``."""
        tensors, text = folder / "trace.safetensors", folder / "trace.json"
        write_bytes(tensors, save({"scores": self.scores}, {"fingerprint": self.spec.fingerprint}))
        write_bytes(text, (self.summary.model_dump_json(indent=1) + "\n").encode())
        return [tensors, text]


def load_trace(folder: Path) -> Trace:
    """Load a saved trace."""
    spec = TraceSummary.model_validate_json((folder / "trace.json").read_bytes()).question
    return Trace(spec, load_file(folder / "trace.safetensors")["scores"])


def traced_text_sites(trace: Trace) -> list[TextSite]:
    """Return the traced sites of text encoders."""
    return [site for site in trace.effects if isinstance(site, TextSite)]


def traced_block_sites(trace: Trace) -> list[BlockSite]:
    """Return the traced sites of the image backbone."""
    return [site for site in trace.effects if isinstance(site, BlockSite)]
