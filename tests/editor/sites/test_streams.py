"""What a denoiser reads, compared with transformers, and one solution in its space applied to every map that reads it."""

from pathlib import Path

import torch
from transformers import CLIPTextModel

from editor.checkpoints import open_checkpoint
from editor.emoji import WEIGHTS
from editor.prompts import PromptBuilder, open_prompt_builder
from editor.sites.clip_attention import TokenPositions
from editor.sites.cross_attention import find_cross_attention
from editor.sites.final_states import PROMPT_CHUNK
from editor.sites.shared_weights import SharedWeights
from editor.sites.stream_site import StreamSite
from editor.sites.streams import PADDING_SLOTS

PROMPTS = ["a fox", "a fox in the style of ink", "", "an owl on a blue background"]


def site_of(pipeline_dir: Path, builder: PromptBuilder) -> StreamSite:
    site = find_cross_attention(open_checkpoint(pipeline_dir), [builder])
    assert site is not None
    return site


def test_rows_are_the_states_that_the_pipeline_reads(
    pipeline_dir: Path, builder: PromptBuilder, encoder: CLIPTextModel
) -> None:
    stream = site_of(pipeline_dir, builder).stream.exact()
    many = [*PROMPTS, *(f"a fox, {number}" for number in range(PROMPT_CHUNK + 2))]
    prompts = builder.tokenize_all(many)
    ids = torch.stack([prompt.ids for prompt in prompts])
    at = TokenPositions(*torch.cartesian_prod(torch.arange(len(ids)), torch.arange(ids.shape[1])).T)
    rows, index = stream.rows(prompts, at)
    with torch.no_grad():
        expected = encoder(ids).last_hidden_state
    torch.testing.assert_close(rows[index].reshape(expected.shape), expected, atol=1e-5, rtol=0)
    assert len(rows) < expected.shape[0] * expected.shape[1]  # common prefixes are computed once


def test_few_positions_represent_the_padding_of_a_trained_encoder() -> None:
    checkpoint, builder = open_checkpoint(WEIGHTS), open_prompt_builder(WEIGHTS)
    site = find_cross_attention(checkpoint, [builder])
    assert site is not None
    for prompt in builder.tokenize_all(PROMPTS[:2]):
        at = TokenPositions.of_one_prompt(torch.arange(len(prompt.ids)))
        (rows, index), (exact_rows, exact_index) = (
            stream.rows([prompt], at) for stream in (site.stream, site.stream.exact())
        )
        states, exact = rows[index], exact_rows[exact_index]
        errors = (states - exact).norm(dim=1) / exact.norm(dim=1)
        assert errors[: prompt.eos + 1].max() < 1e-5
        assert errors.mean() < 0.03
        assert len(rows) <= prompt.eos + 1 + PADDING_SLOTS


def test_one_solution_serves_every_map(pipeline_dir: Path, builder: PromptBuilder) -> None:
    weights = site_of(pipeline_dir, builder).weights
    up, down = (torch.randn(64, 3, dtype=torch.float64) for _ in range(2))
    updates = weights.updates(up, down.T)
    assert len(updates) == 14
    for update in updates:
        base = update.base.double()
        torch.testing.assert_close(update.up @ update.down, base @ up @ down.T)
        assert torch.equal(update.down, updates[0].down)


def test_root_measures_the_values_of_all_maps(pipeline_dir: Path, builder: PromptBuilder) -> None:
    weights = site_of(pipeline_dir, builder).weights
    for names in (weights.names, weights.names[:1]):  # more outputs than inputs, and fewer
        some = SharedWeights(weights.denoiser, names, weights.width)
        key = torch.randn(64, dtype=torch.float64)
        values = torch.cat([weight @ key / weight.norm() for weight in some.weights()])
        torch.testing.assert_close((some.root @ key).norm(), values.norm(), rtol=1e-6, atol=0)
        factor = torch.randn(len(some.root), 2, dtype=torch.float64)
        torch.testing.assert_close(some.root @ some.to_stream_space(factor), factor)
