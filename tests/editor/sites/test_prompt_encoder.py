"""Tests of the rows that encoders give to a denoiser, against the pipelines' own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from transformers import T5EncoderModel

from editor.checkpoints import open_checkpoint
from editor.prompts import open_prompt_builders
from editor.sites.clip_attention import TokenPositions
from editor.sites.prompt_encoder import release_encoder
from editor.sites.prompt_formats import prompt_format
from editor.sites.sequence_states import SequenceStates
from editor.sites.text_gate import find_text_gate
from tests.fakes.pipelines import save_model

PROMPTS = ["a Fox in the style of noto ", "two dogs", "a fox"]
FAMILIES = ("chroma", "pixart", "sana", "lumina2", "qwen-image", "z-image")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, save_model(request.param, tmp_path_factory.mktemp(request.param) / "model")


def open_stream(folder: Path) -> tuple[SequenceStates, Any]:
    checkpoint = open_checkpoint(folder)
    (builder,) = open_prompt_builders(checkpoint)
    site = find_text_gate(checkpoint, [builder])
    assert site is not None
    assert isinstance(site.stream, SequenceStates)
    return site.stream, builder


def gate_input(family: str, folder: Path, prompt: str) -> Any:
    """Return what the denoiser's gate reads of a prompt, by the pipeline with its own defaults, (rows, width)."""
    pipeline = DiffusionPipeline.from_pretrained(folder, vae=None)
    denoiser = pipeline.transformer
    more: dict[str, Any] = {}
    if family == "sana":
        instruction = prompt_format("sana", folder / "tokenizer").before
        more = {"complex_human_instruction": instruction.split("\n")}
    if family in ("pixart", "sana", "lumina2", "z-image"):
        more |= {"do_classifier_free_guidance": False}
    states, mask, *others = pipeline.encode_prompt(prompt=prompt, device="cpu", **more)
    if family == "z-image":
        return denoiser.cap_embedder[0](states[0])
    if family == "chroma":
        mask = others[0]
    rows = states[0] if mask is None else states[0][mask[0].bool()]
    if family == "lumina2":
        return denoiser.time_caption_embed.caption_embedder[0](rows)
    return denoiser.txt_norm(rows) if family == "qwen-image" else rows


def test_rows_are_those_that_the_pipeline_gives_to_its_denoiser(model: tuple[str, Path]) -> None:
    family, folder = model
    stream, builder = open_stream(folder)
    prompts = [builder.tokenize(text) for text in PROMPTS]
    stream.prefetch(prompts)
    for prompt in prompts:
        expected = gate_input(family, folder, prompt.text)
        positions = torch.arange(len(expected))
        padding = stream.encoder.format.padding_rows or 0
        assert len(stream.encoder.ids(prompt.text)) + padding == len(expected), "other padding is not read"
        rows, index = stream.rows([prompt], TokenPositions.of_one_prompt(positions))
        torch.testing.assert_close(rows[index], expected.detach().float(), atol=1e-4, rtol=1e-4)


def test_rows_do_not_depend_on_the_batch(model: tuple[str, Path]) -> None:
    encoder = open_stream(model[1])[0].encoder
    together = encoder.states(PROMPTS)
    for text, states in zip(PROMPTS, together, strict=True):
        rows = len(encoder.ids(text))
        torch.testing.assert_close(states[:rows], encoder.states([text])[0, :rows], atol=1e-5, rtol=1e-5)


def test_a_prompt_as_long_as_the_limit_is_cut_where_the_pipeline_cuts_it(model: tuple[str, Path]) -> None:
    stream, _ = open_stream(model[1])
    short = replace(stream.encoder, length=6)
    assert len(short.ids("a fox in the style of noto")) == 6
    assert short.states(["a fox in the style of noto"]).shape[1] == 6 + (short.format.padding_rows or 0)


@pytest.mark.parametrize("shard_size", ["1GB", "20KB"])
def test_an_encoder_that_has_one_variant_only_is_read(tmp_path: Path, shard_size: str) -> None:
    folder = save_model("pixart", tmp_path / "model")
    expected = open_stream(folder)[0].encoder.states(PROMPTS)
    release_encoder()
    encoder = T5EncoderModel.from_pretrained(folder / "text_encoder")
    for path in (folder / "text_encoder").glob("*.safetensors"):
        path.unlink()
    encoder.save_pretrained(folder / "text_encoder", variant="fp32", max_shard_size=shard_size)
    torch.testing.assert_close(open_stream(folder)[0].encoder.states(PROMPTS), expected)
