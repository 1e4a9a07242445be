"""The rows that each family's denoiser reads, compared with what its own pipeline gives to the denoiser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from api_schemas.edits import EditOptions, SiteName
from editor.checkpoints import Checkpoint, open_checkpoint
from editor.methods.denoiser_edit import edit_denoiser
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval, open_prompt_builders
from editor.sites import text_gate
from editor.sites.clip_attention import TokenPositions
from editor.sites.registry import denoiser_sites
from editor.sites.stream_site import StreamSite
from tests.fakes.pipelines import save_model, shared_pipeline

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
PROMPTS = ["a fox in the style of ink", "a fox", "an owl on a blue background"]
SITES: dict[str, tuple[SiteName, ...]] = {
    "stable-diffusion-1": ("cross_attention",),
    "stable-diffusion-2": ("cross_attention",),
    "sdxl": ("cross_attention", "pooled_projection"),
    "sd3": ("text_gate", "pooled_projection"),
    "flux": ("text_gate", "pooled_projection"),
}
LENGTH = 32
"""Rows of T5, instead of hundreds."""
Opened = tuple[Checkpoint, list[PromptBuilder]]


@pytest.fixture(scope="module")
def open_family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Opened]:
    opened: dict[str, Opened] = {}

    def open_once(family: str) -> Opened:
        if family not in opened:
            checkpoint = open_checkpoint(save_model(family, tmp_path_factory.mktemp(family)))
            opened[family] = checkpoint, open_prompt_builders(checkpoint)
        return opened[family]

    return open_once


@pytest.fixture(autouse=True)
def short_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_gate, "LENGTHS", {"flux": LENGTH, "sd3": LENGTH})


def sites_of(opened: Opened) -> list[StreamSite]:
    return denoiser_sites(*opened, EditOptions(sites="all"))


def encode(family: str, prompts: list[str]) -> dict[SiteName, torch.Tensor]:
    """Return the rows that the pipeline gives to each site, (prompts, positions, d)."""
    pipeline: Any = shared_pipeline(family)
    with torch.no_grad():
        if family == "flux":
            tokens, pooled, _ = pipeline.encode_prompt(prompts, None, max_sequence_length=LENGTH)
        elif family in ("sdxl", "sd3"):
            none = {"prompt_2": None, "prompt_3": None, "max_sequence_length": LENGTH} if family == "sd3" else {}
            tokens, _, pooled, _ = pipeline.encode_prompt(prompts, **none, do_classifier_free_guidance=False)
        else:
            tokens, pooled = pipeline.encode_prompt(prompts, "cpu", 1, False)[0], None
    found: dict[SiteName, torch.Tensor] = {"cross_attention": tokens, "text_gate": tokens}
    return found | ({"pooled_projection": pooled[:, None]} if pooled is not None else {})


@pytest.mark.parametrize("family", SITES)
def test_rows_are_those_that_the_pipeline_gives(family: str, open_family: Callable[[str], Opened]) -> None:
    opened, expected = open_family(family), encode(family, PROMPTS)
    for site in sites_of(opened):
        prompts = opened[1][0].tokenize_all(PROMPTS)
        places = [(i, p) for i, prompt in enumerate(prompts) for p in site.stream.protected_positions(prompt)]
        at = TokenPositions(*torch.tensor(places).T)
        rows, index = site.stream.exact().rows(prompts, at)
        torch.testing.assert_close(rows[index], expected[site.name][at.prompt_index, at.positions], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", SITES)
def test_every_site_of_a_family_is_closed(family: str, open_family: Callable[[str], Opened], tmp_path: Path) -> None:
    checkpoint, builders = open_family(family)
    edits = edit_denoiser(sites_of((checkpoint, builders)), builders[0], [FOX])
    assert tuple(edit.record.site for edit in edits) == SITES[family]
    for edit in edits:
        assert edit.record.residual is not None
        assert edit.record.residual < 0.75
        for update in edit.updates:
            assert update.base.shape == (len(update.up), update.down.shape[1])
