"""The result of a trace: what was asked, every score, and each site's effect with its interval."""

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
from editor.tracing.score_store import CLEAN, CORRUPTED, OFFSET
from editor.tracing.sites import BlockSite, Frozen, Site, TextSite

NOTHING_LOST = 1e-9
"""A corruption that costs less than this costs nothing, and nothing can be brought back."""


class Question(Frozen):
    """What was traced and how; two traces with the same question have the same scores."""

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
        """sha256 of all of it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def as_tuples(samples: Sequence[Sample]) -> tuple[tuple[int, int, int], ...]:
    """Samples as a question has them."""
    return tuple((sample.prompt, sample.draw, sample.seed) for sample in samples)


class SiteResult(Frozen):
    """One site's effect: the share of what the corruption lost that restoring it brings back."""

    site: Site
    effect: Estimate


class Summary(Frozen):
    """``trace.json``: the question, and the answer for every site."""

    question: Question
    clean: Estimate = Field(description="Score of the clean runs.")
    corrupted: Estimate
    sites: list[SiteResult] = Field(description="Sites that at least one prompt has.")


@dataclass(frozen=True)
class Trace:
    """A finished trace."""

    question: Question
    scores: Tensor
    """``(samples, OFFSET + sites)``, float64: clean, corrupted, then every site; NaN where a prompt has no such place."""

    @cached_property
    def units(self) -> Tensor:
        """``(samples,)``: what counts as one observation: a prompt, or a draw where there is one prompt only."""
        samples = torch.tensor(self.question.samples)
        return samples[:, 0] if len(self.question.prompts) > 1 else torch.arange(len(samples))

    def by_unit(self, values: Tensor) -> Tensor:
        """``(samples, n)`` -> ``(units, n)``: means over a unit's samples."""
        return torch.stack([values[self.units == unit].nanmean(0) for unit in sorted(set(self.units.tolist()))])

    @property
    def lost(self) -> float:
        """What the corruption costs, on average."""
        return float((self.scores[:, CLEAN] - self.scores[:, CORRUPTED]).mean())

    @cached_property
    def shares(self) -> Tensor:
        """``(units, sites)``: restored share of what was lost; zeros where nothing was."""
        back = self.scores[:, OFFSET:] - self.scores[:, CORRUPTED, None]
        return self.by_unit(back / self.lost if abs(self.lost) > NOTHING_LOST else back * 0)

    @cached_property
    def effects(self) -> dict[Site, Estimate]:
        """Every site that some prompt has, with mean, 95 % interval and the number of observations."""
        columns = zip(self.question.sites, self.shares.T, strict=True)
        return {site: estimate_mean(s[~s.isnan()].tolist()) for site, s in columns if not s.isnan().all()}

    def ranked(self) -> list[Site]:
        """Sites from the largest effect down."""
        return sorted(self.effects, key=lambda site: -self.effects[site].value)

    def difference(self, site: Site, other: Site) -> Estimate:
        """How much more ``site`` restores than ``other``, paired by observation."""
        columns = [self.shares[:, self.question.sites.index(s)] for s in (site, other)]
        both = (columns[0] - columns[1])[~(columns[0] - columns[1]).isnan()]
        return estimate_mean(both.tolist())

    @property
    def summary(self) -> Summary:
        """For people and machines that need no tensors."""
        clean, corrupted = (self.by_unit(self.scores[:, [c]])[:, 0].tolist() for c in (CLEAN, CORRUPTED))
        sites = [SiteResult(site=site, effect=effect) for site, effect in self.effects.items()]
        return Summary(
            question=self.question, clean=estimate_mean(clean), corrupted=estimate_mean(corrupted), sites=sites
        )

    def save(self, folder: Path) -> list[Path]:
        """Write ``trace.safetensors`` and, last, ``trace.json``."""
        tensors, text = folder / "trace.safetensors", folder / "trace.json"
        write_bytes(tensors, save({"scores": self.scores}, {"fingerprint": self.question.fingerprint}))
        write_bytes(text, (self.summary.model_dump_json(indent=1) + "\n").encode())
        return [tensors, text]


def load(folder: Path) -> Trace:
    """Read a saved trace."""
    question = Summary.model_validate_json((folder / "trace.json").read_bytes()).question
    return Trace(question, load_file(folder / "trace.safetensors")["scores"])


def text_only(trace: Trace) -> list[TextSite]:
    """The traced sites of text encoders."""
    return [site for site in trace.effects if isinstance(site, TextSite)]


def blocks_only(trace: Trace) -> list[BlockSite]:
    """The traced sites of the image backbone."""
    return [site for site in trace.effects if isinstance(site, BlockSite)]
