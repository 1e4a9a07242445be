"""Every family and layout at true width: the keys read from the file equal what transformers computes."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils as diffusers_reader
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from editor.checkpoints import OUT_PROJ, Checkpoint, open_checkpoint
from editor.checkpoints.load_transformers import load_module
from editor.checkpoints.tokenizers import build_vocabulary, open_tokenizer, read_merges
from editor.sites.lazy_clip import LazyCLIPTextModel, all_positions
from tests.editor.checkpoints.layouts import (
    PROMPTS,
    VOCABULARY,
    Tensors,
    behind,
    config,
    flat,
    openclip,
    planted,
    without_projection,
    write,
)

PADS = {"clip_l": "<|endoftext|>", "clip_h": "!", "clip_g": "!"}
T5 = {"encoder.block.0.layer.0.SelfAttention.q.weight": torch.zeros(4, 4, dtype=torch.uint8)}
"""Quantised, which is no concern of an edit."""
BACKBONE = {"unet": torch.zeros(3)}
IDS = {"position_ids": torch.arange(77)[None]}


@pytest.fixture(scope="module")
def ids() -> dict[str, Tensor]:
    """Token ids of the prompts as each encoder's pipeline pads them."""
    merges = read_merges()
    entries, encoded = build_vocabulary(merges), {}
    for kind, pad in PADS.items():
        tokenizer = CLIPTokenizer(vocab=entries, merges=merges, pad_token=pad, model_max_length=77)
        encoded[kind] = torch.tensor(tokenizer(PROMPTS, padding="max_length")["input_ids"])
    return encoded


class FewRows(nn.Module):
    """An embedding in the dtype of the file, looked up in float64."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.weight.detach()[ids].double()


def true_keys(kind: str, tensors: Tensors, ids: Tensor) -> Tensor:
    """What enters ``out_proj`` of the first layer in transformers, in float64."""
    settings: Any = config(kind) | {"vocab_size": 1, "attn_implementation": "sdpa"}  # eager rounds to float32
    module = CLIPTextModel(CLIPTextConfig(**settings)).double().eval()
    weights = {name: tensor.double() for name, tensor in flat(without_projection(tensors)).items()}
    del weights["embeddings.token_embedding.weight"]
    module.load_state_dict(weights, strict=False)
    module.embeddings.token_embedding = FewRows(tensors["text_model.embeddings.token_embedding.weight"])
    seen: list[Tensor] = []
    module.encoder.layers[0].self_attn.out_proj.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    with torch.no_grad():
        module(ids)
    return seen[0]


@dataclass(frozen=True)
class Case:
    """A layout: what it writes from the planted encoders, and what opening it must find."""

    make: Callable[[Path, list[Tensors]], Path]
    kinds: tuple[str, ...]
    family: str
    components: tuple[str, ...]
    second: tuple[str, ...] = ()


def pipeline(name: str, kinds: tuple[str, ...], t5: str = "") -> Callable[[Path, list[Tensors]], Path]:
    """A diffusers folder."""
    projected = name in {"StableDiffusionXLPipeline", "StableDiffusion3Pipeline"}

    def make(root: Path, encoders: list[Tensors]) -> Path:
        index: dict[str, object] = {"_class_name": name, "unet": ["diffusers", "UNet2DConditionModel"]}
        for component, kind, tensors in zip(("text_encoder", "text_encoder_2"), kinds, encoders, strict=False):
            with_projection = projected and not (component == "text_encoder" and "XL" in name)
            index[component] = ["transformers", "CLIPTextModel"]
            folder = root / component
            write(folder / "model.safetensors", tensors if with_projection else flat(without_projection(tensors)))
            (folder / "config.json").write_text(json.dumps(config(kind, projected=with_projection)))
        if t5:
            index[t5] = ["transformers", "T5EncoderModel"]
            (root / t5).mkdir()
            (root / t5 / "config.json").write_text('{"model_type": "t5"}')
        (root / "model_index.json").write_text(json.dumps(index))
        return root

    return make


def single(*parts: Callable[[list[Tensors]], Tensors], name: str = "model.safetensors") -> Callable[..., Path]:
    """A single file of several parts."""

    def make(root: Path, encoders: list[Tensors]) -> Path:
        return write(root / name, {key: t for part in parts for key, t in part(encoders).items()})

    return make


def sdxl_second(encoders: list[Tensors]) -> Tensors:
    return behind("conditioner.embedders.1.model.", openclip(encoders[1]))


def clip_l_inside(encoders: list[Tensors]) -> Tensors:
    return behind("text_encoders.clip_l.transformer.", without_projection(encoders[0]))


def sd3(encoders: list[Tensors]) -> Tensors:
    second = behind("text_encoders.clip_g.transformer.", encoders[1])
    return clip_l_inside(encoders) | second | behind("text_encoders.t5xxl.transformer.", T5)


def clip_model_folder(root: Path, encoders: list[Tensors]) -> Path:
    """A whole ``CLIPModel``: its text tower is what counts."""
    vision = {"vision_model.embeddings.class_embedding": torch.zeros(8), "visual_projection.weight": torch.zeros(8, 8)}
    write(root / "model.safetensors", encoders[0] | vision)
    text = config("clip_h")
    (root / "config.json").write_text(json.dumps({"model_type": "clip", "text_config": text, "projection_dim": 1024}))
    return root


def comfy(*names: str) -> Callable[[Path, list[Tensors]], Path]:
    """ComfyUI's files side by side."""

    def make(root: Path, encoders: list[Tensors]) -> Path:
        for name, tensors in zip(("clip_l", "clip_g"), encoders, strict=False):
            write(root / f"{name}.safetensors", tensors)
        for name in names:
            write(root / f"{name}.safetensors", T5)
        return root

    return make


def comfy_file(root: Path, encoders: list[Tensors]) -> Path:
    return comfy("t5xxl_fp8_e4m3fn")(root, encoders) / "clip_l.safetensors"


ONE, TWO = ("text_encoder",), ("text_encoder", "text_encoder_2")
L, H, LG = ("clip_l",), ("clip_h",), ("clip_l", "clip_g")
CASES = {
    "diffusers SD1": Case(pipeline("StableDiffusionPipeline", L), L, "stable-diffusion-1", ONE),
    "diffusers SD2": Case(pipeline("StableDiffusionPipeline", H), H, "stable-diffusion-2", ONE),
    "diffusers SDXL": Case(pipeline("StableDiffusionXLPipeline", LG), LG, "sdxl", TWO),
    "diffusers SD3": Case(
        pipeline("StableDiffusion3Pipeline", LG, "text_encoder_3"), LG, "sd3", TWO, ("text_encoder_3",)
    ),
    "diffusers FLUX": Case(pipeline("FluxPipeline", L, "text_encoder_2"), L, "flux", ONE, ("text_encoder_2",)),
    "single SD1": Case(
        single(lambda e: behind("cond_stage_model.transformer.", without_projection(e[0])), lambda e: BACKBONE),
        L, "stable-diffusion-1", ONE,
    ),
    "single SD1, older": Case(
        single(lambda e: behind("cond_stage_model.transformer.", flat(without_projection(e[0])))),
        L, "stable-diffusion-1", ONE,
    ),
    "single SD2": Case(
        single(lambda e: behind("cond_stage_model.model.", openclip(e[0]))), H, "stable-diffusion-2", ONE
    ),
    "single SDXL": Case(
        single(lambda e: behind("conditioner.embedders.0.transformer.", without_projection(e[0])), sdxl_second),
        LG, "sdxl", TWO,
    ),
    "single SDXL refiner": Case(
        single(lambda e: behind("conditioner.embedders.0.model.", openclip(e[0]))),
        ("clip_g",), "sdxl", ("text_encoder_2",),
    ),
    "single SD3": Case(single(sd3), LG, "sd3", TWO, ("text_encoder_3",)),
    "single FLUX": Case(
        single(
            clip_l_inside,
            lambda e: behind("text_encoders.t5xxl.transformer.", T5),
            lambda e: {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": torch.zeros(2)},
        ),
        L, "flux", ONE, ("text_encoder_2",),
    ),
    "OpenCLIP": Case(single(lambda e: openclip(e[0]) | {"visual.proj": torch.zeros(2)}), H, "clip", ONE),
    "CLIPModel folder": Case(clip_model_folder, H, "clip", ONE),
    "ComfyUI, SD3": Case(comfy("t5xxl_fp16"), LG, "sd3", TWO, ("t5xxl_fp16",)),
    "ComfyUI, SDXL": Case(comfy(), LG, "sdxl", TWO),
    "ComfyUI, FLUX": Case(comfy("t5xxl_fp16"), L, "flux", ONE, ("t5xxl_fp16",)),
    "ComfyUI, a file": Case(comfy_file, L, "clip", ONE, ("t5xxl_fp8_e4m3fn",)),
}  # fmt: skip
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@pytest.fixture(scope="module")
def plant(ids: dict[str, Tensor]) -> Callable[[str, torch.dtype], tuple[Tensors, Tensor]]:
    """Encoders and their true keys, each made once."""
    known: dict[tuple[str, torch.dtype], tuple[Tensors, Tensor]] = {}

    def make(kind: str, dtype: torch.dtype) -> tuple[Tensors, Tensor]:
        if (kind, dtype) not in known:
            tensors = planted(kind, ids[kind], dtype)
            known[kind, dtype] = tensors, true_keys(kind, tensors, ids[kind])
        return known[kind, dtype]

    return make


@pytest.mark.parametrize("name", CASES)
def test_keys_are_those_of_transformers(name: str, plant: Any, ids: dict[str, Tensor], tmp_path: Path) -> None:
    case = CASES[name]
    dtype = DTYPES[sorted(CASES).index(name) % 3]
    dtype = torch.float16 if "clip_g" in case.kinds and dtype is torch.float32 else dtype
    made = [plant(kind, dtype) for kind in case.kinds]
    checkpoint = open_checkpoint(case.make(tmp_path, [tensors for tensors, _ in made]))
    assert checkpoint.family == case.family
    assert tuple(encoder.component for encoder in checkpoint.encoders) == case.components
    assert tuple(way.component for way in checkpoint.unedited_encoders) == case.second
    for encoder, kind, (tensors, keys) in zip(checkpoint.encoders, case.kinds, made, strict=True):
        assert (encoder.width, encoder.heads, encoder.layers) == (keys.shape[-1], keys.shape[-1] // 64, 1)
        assert encoder.activation == ("quick_gelu" if kind == "clip_l" else "gelu")
        assert encoder.tensor(OUT_PROJ.format(layer=0)).dtype is dtype
        tower = LazyCLIPTextModel(encoder).in_float64()
        states = tower.hidden_states_before(
            torch.tensor(open_tokenizer(encoder)(PROMPTS, padding="max_length")["input_ids"]), 0
        )
        read = tower.attention(0).keys(states, all_positions(states.index))
        torch.testing.assert_close(read.reshape(keys.shape), keys, atol=1e-12, rtol=1e-10)
        for canonical in encoder.places:
            if "token_embedding" not in canonical:
                assert torch.equal(encoder.tensor(canonical), tensors[canonical]), canonical


def test_diffusers_reads_the_same_from_sdxl(plant: Any, tmp_path: Path) -> None:
    """Their converter and ours agree on every tensor; the test's own layouts are held to it as well."""
    case = CASES["single SDXL"]
    path = case.make(tmp_path, [plant(kind, torch.float16)[0] for kind in case.kinds])
    first, second = open_checkpoint(path).encoders
    stored = load_file(path)
    theirs = diffusers_reader.convert_ldm_clip_checkpoint(stored)
    assert theirs.keys() == first.places.keys()
    assert all(torch.equal(first.tensor(name), tensor) for name, tensor in theirs.items())
    settings: Any = config("clip_g", projected=True) | {"vocab_size": 1}
    module = CLIPTextModelWithProjection(CLIPTextConfig(**settings))
    theirs = diffusers_reader.convert_open_clip_checkpoint(module, stored, prefix="conditioner.embedders.1.model.")
    assert theirs.keys() == second.places.keys()
    assert all(torch.equal(second.tensor(name), tensor) for name, tensor in theirs.items())


def test_digests_are_the_same_in_every_layout(plant: Any, tmp_path: Path) -> None:
    tensors, _ = plant("clip_h", torch.bfloat16)
    made = [CASES[name].make(tmp_path / name.replace(" ", "-"), [tensors]) for name in ("single SD2", "diffusers SD2")]
    one, other = (open_checkpoint(path).encoders[0] for path in made)
    names = [name for name in other.places if name != "text_projection.weight"]
    assert one.digest(names) == other.digest(reversed(names))
    assert one.digest(names[:3]) != one.digest(names[:4])


def test_the_module_computes_what_transformers_does(ids: dict[str, Tensor], tmp_path: Path) -> None:
    """Two layers, so that activation and depth count; the projection, which is stored transposed, too."""
    tensors = planted("clip_h", ids["clip_h"], torch.float16, layers=2)
    path = write(tmp_path / "sd2.safetensors", behind("cond_stage_model.model.", openclip(tensors)))
    ours = load_module(opened(path).encoders[0], projected=True)
    settings: Any = config("clip_h", layers=2, projected=True) | {"eos_token_id": 49407}
    theirs = CLIPTextModelWithProjection(CLIPTextConfig(**settings)).eval()
    theirs.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    with torch.no_grad():
        mine, reference = ours(ids["clip_h"]), theirs(ids["clip_h"])
    torch.testing.assert_close(mine.last_hidden_state, reference.last_hidden_state, atol=0, rtol=0)
    torch.testing.assert_close(mine.text_embeds, reference.text_embeds, atol=0, rtol=0)


def opened(path: Path) -> Checkpoint:
    checkpoint = open_checkpoint(path)
    assert all(encoder.vocabulary == VOCABULARY for encoder in checkpoint.encoders)
    return checkpoint
