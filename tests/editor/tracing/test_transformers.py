"""Block sites of diffusion transformers (tiny random SD3, FLUX, PixArt and DiT): found by type, patched in batches."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from diffusers import DiTTransformer2DModel, FluxTransformer2DModel, PixArtTransformer2DModel, SD3Transformer2DModel
from torch import Tensor

from editor.generation.config import EncoderStates
from editor.generation.denoiser import Conditioning, Denoiser
from editor.generation.memory_budget import MemoryBudget
from editor.tracing.backbone_trace import trace_blocks
from editor.tracing.corruption import Sample, make_samples
from editor.tracing.image_readouts import NoisyLatents, make_noise_prediction
from editor.tracing.result import TraceSpec, sample_tuples
from editor.tracing.score_store import CLEAN, CORRUPTED, SITE_OFFSET
from editor.tracing.sites import BlockSite, block_sites

ROWS = 3


@dataclass
class Case:
    """A backbone with inputs: kwargs without rows, latents, clean states and the names of the conditioning's tensors."""

    backbone: Any
    shared_kwargs: dict[str, Any]
    latents: Tensor
    clean: EncoderStates
    names: tuple[str, ...]
    sites: dict[str, int]

    def conditioning(self, states: EncoderStates, samples: Any) -> Conditioning:
        return dict(zip(self.names, states, strict=True))


def sd3() -> Case:
    backbone = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=16, caption_projection_dim=16, pooled_projection_dim=12, out_channels=4,
        pos_embed_max_size=8,
    )  # fmt: skip
    states = (torch.randn(ROWS, 5, 16), torch.randn(ROWS, 12))
    sites = {"self_attention": 2, "feed_forward": 3, "block": 2}
    return Case(
        backbone, {}, torch.randn(ROWS, 4, 8, 8), states, ("encoder_hidden_states", "pooled_projections"), sites
    )


def flux() -> Case:
    backbone = FluxTransformer2DModel(
        in_channels=4, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=12, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    states = (torch.randn(ROWS, 5, 16), torch.randn(ROWS, 12))
    shared = {"img_ids": torch.zeros(16, 3), "txt_ids": torch.zeros(5, 3)}
    sites = {"self_attention": 3, "feed_forward": 2, "block": 3}
    names = ("encoder_hidden_states", "pooled_projections")
    return Case(backbone, shared, torch.randn(ROWS, 16, 4), states, names, sites)


def pixart() -> Case:
    backbone = PixArtTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=8, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, cross_attention_dim=16, caption_channels=12,
    )  # fmt: skip
    shared = {"added_cond_kwargs": {"resolution": None, "aspect_ratio": None}}
    sites = {"self_attention": 2, "cross_attention": 2, "feed_forward": 2, "block": 2}
    states = (torch.randn(ROWS, 5, 12),)
    return Case(backbone, shared, torch.randn(ROWS, 4, 8, 8), states, ("encoder_hidden_states",), sites)


def dit() -> Case:
    backbone = DiTTransformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
    )
    sites = {"self_attention": 2, "feed_forward": 2, "block": 2}
    return Case(backbone, {}, torch.randn(ROWS, 4, 8, 8), (torch.tensor([1, 2, 3]),), ("class_labels",), sites)


@pytest.fixture(params=[sd3, flux, pixart, dit], ids=lambda make: make.__name__)
def case(request: pytest.FixtureRequest) -> Case:
    torch.manual_seed(0)
    made: Case = request.param()
    with torch.no_grad():
        for parameter in made.backbone.parameters():
            parameter.normal_(std=0.2)
    made.backbone.eval()
    return made


def test_sites_are_found_by_type(case: Case) -> None:
    sites = block_sites(case.backbone)
    assert Counter(site.kind for site in sites) == case.sites
    assert {site.stage for site in sites} == {"transformer"}


def trace_scores(case: Case, sites: list[BlockSite], budget: MemoryBudget) -> Tensor:
    denoiser, samples = Denoiser(case.backbone, case.shared_kwargs), make_samples(ROWS, 1)
    corrupted = tuple(states.roll(1, 0) for states in case.clean)
    noisy = NoisyLatents([torch.tensor(500.0), torch.tensor(100.0)], [case.latents, case.latents])
    noise = make_noise_prediction(denoiser, case.conditioning, case.clean, samples, noisy, lambda b: b.max_batch_size)
    spec = TraceSpec(
        model="tiny", concept="fox", attribute="object", read_out=noise.name, corruption="swap", seed=0,
        prompts=("a", "b", "c"), places=(), samples=sample_tuples(samples), sites=tuple(sites),
    )  # fmt: skip
    return trace_blocks(case.clean, corrupted, samples, spec, noise, budget).scores


def test_patching_blocks_moves_scores_towards_the_clean_run(case: Case) -> None:
    sites = block_sites(case.backbone)
    every = BlockSite(kind="block", stage="transformer", modules=tuple(site.modules[0] for site in sites))
    never = every.model_copy(update={"first_step": 1})
    scores = trace_scores(case, [*sites, every, never], MemoryBudget())
    assert (scores[:, CORRUPTED] < -1e-3).all()
    torch.testing.assert_close(scores[:, CLEAN], torch.zeros(ROWS, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(scores[:, -1], scores[:, CORRUPTED], atol=1e-5, rtol=1e-5)
    if not isinstance(case.backbone, DiTTransformer2DModel | SD3Transformer2DModel | FluxTransformer2DModel):
        return  # PixArt's prompt enters through blocks alone; elsewhere the last norm reads the condition, too
    assert scores[:, -2].mean() > scores[:, CORRUPTED].mean()
    moved = (scores[:, SITE_OFFSET : SITE_OFFSET + len(sites)] - scores[:, [CORRUPTED]]).abs()
    assert (moved.amax(0) > 1e-6).sum() > len(sites) // 2


def test_batch_size_does_not_change_scores(case: Case) -> None:
    sites = block_sites(case.backbone)
    torch.testing.assert_close(
        trace_scores(case, sites, MemoryBudget(max_batch_size=3)),
        trace_scores(case, sites, MemoryBudget()),
        atol=1e-5,
        rtol=1e-5,
    )


def test_patching_all_pixart_blocks_gives_the_clean_run() -> None:
    torch.manual_seed(0)
    case = pixart()
    sites = block_sites(case.backbone.eval(), ("block",))
    every = BlockSite(kind="block", stage="transformer", modules=tuple(site.modules[0] for site in sites))
    scores = trace_scores(case, [every], MemoryBudget())
    torch.testing.assert_close(scores[:, SITE_OFFSET], torch.zeros(ROWS, dtype=torch.float64), atol=1e-6, rtol=0)


def test_samples_differ_by_prompt_draw_and_seed() -> None:
    assert len({Sample(0, 0, 0), Sample(0, 0, 1), Sample(0, 1, 0), Sample(1, 0, 0)}) == 4
