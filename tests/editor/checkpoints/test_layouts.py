"""Every family and layout at the true width: the keys computed from the file match transformers."""

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
from editor.errors import CheckpointError
from editor.sites.lazy_clip import LazyCLIPTextModel, all_positions
from tests.editor.checkpoints.layouts import (
    PROMPTS,
    VOCABULARY,
    Tensors,
    add_prefix,
    encoder_config,
    random_encoder,
    remove_prefix,
    to_openclip,
    without_projection,
    write_safetensors,
)

PADS = {"clip_l": "<|endoftext|>", "clip_h": "!", "clip_g": "!"}
T5 = {"encoder.block.0.layer.0.SelfAttention.q.weight": torch.zeros(4, 4, dtype=torch.uint8)}
"""A quantised tensor, which an edit does not read."""
BACKBONE = {"unet": torch.zeros(3)}
IDS = {"position_ids": torch.arange(77)[None]}


@pytest.fixture(scope="module")
def ids() -> dict[str, Tensor]:
    """Token ids of the prompts, padded as each encoder's pipeline pads them."""
    merges = read_merges()
    entries, encoded = build_vocabulary(merges), {}
    for kind, pad in PADS.items():
        tokenizer = CLIPTokenizer(vocab=entries, merges=merges, pad_token=pad, model_max_length=77)
        encoded[kind] = torch.tensor(tokenizer(PROMPTS, padding="max_length")["input_ids"])
    return encoded


class Float64Embedding(nn.Module):
    """An embedding that is stored in the dtype of the file and returns float64."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.weight.detach()[ids].double()


def transformers_keys(kind: str, tensors: Tensors, ids: Tensor) -> Tensor:
    """Return the inputs of ``out_proj`` in the first layer of transformers, in float64."""
    settings: Any = encoder_config(kind) | {"vocab_size": 1, "attn_implementation": "sdpa"}  # eager rounds to float32
    module = CLIPTextModel(CLIPTextConfig(**settings)).double().eval()
    weights = {name: tensor.double() for name, tensor in remove_prefix(without_projection(tensors)).items()}
    del weights["embeddings.token_embedding.weight"]
    module.load_state_dict(weights, strict=False)
    module.embeddings.token_embedding = Float64Embedding(tensors["text_model.embeddings.token_embedding.weight"])
    captured: list[Tensor] = []
    module.encoder.layers[0].self_attn.out_proj.register_forward_hook(lambda m, args, out: captured.append(args[0]))
    with torch.no_grad():
        module(ids)
    return captured[0]


@dataclass(frozen=True)
class Case:
    """A layout: how it is written from random encoders, and what opening it must return."""

    make: Callable[[Path, list[Tensors]], Path]
    kinds: tuple[str, ...]
    family: str
    components: tuple[str, ...]
    unedited: tuple[str, ...] = ()


def pipeline(name: str, kinds: tuple[str, ...], t5: str = "") -> Callable[[Path, list[Tensors]], Path]:
    """Write a diffusers folder."""
    projected = name in {"StableDiffusionXLPipeline", "StableDiffusion3Pipeline"}

    def make(root: Path, encoders: list[Tensors]) -> Path:
        index: dict[str, object] = {"_class_name": name, "unet": ["diffusers", "UNet2DConditionModel"]}
        for component, kind, tensors in zip(("text_encoder", "text_encoder_2"), kinds, encoders, strict=False):
            with_projection = projected and not (component == "text_encoder" and "XL" in name)
            index[component] = ["transformers", "CLIPTextModel"]
            folder = root / component
            write_safetensors(
                folder / "model.safetensors", tensors if with_projection else remove_prefix(without_projection(tensors))
            )
            (folder / "config.json").write_text(json.dumps(encoder_config(kind, projected=with_projection)))
        if t5:
            index[t5] = ["transformers", "T5EncoderModel"]
            (root / t5).mkdir()
            (root / t5 / "config.json").write_text('{"model_type": "t5"}')
        (root / "model_index.json").write_text(json.dumps(index))
        return root

    return make


def single(*parts: Callable[[list[Tensors]], Tensors], name: str = "model.safetensors") -> Callable[..., Path]:
    """Write a single file that contains several parts."""

    def make(root: Path, encoders: list[Tensors]) -> Path:
        return write_safetensors(root / name, {key: t for part in parts for key, t in part(encoders).items()})

    return make


def sdxl_second_encoder(encoders: list[Tensors]) -> Tensors:
    return add_prefix("conditioner.embedders.1.model.", to_openclip(encoders[1]))


def single_file_clip_l(encoders: list[Tensors]) -> Tensors:
    return add_prefix("text_encoders.clip_l.transformer.", without_projection(encoders[0]))


def sd3(encoders: list[Tensors]) -> Tensors:
    second = add_prefix("text_encoders.clip_g.transformer.", encoders[1])
    return single_file_clip_l(encoders) | second | add_prefix("text_encoders.t5xxl.transformer.", T5)


def clip_model_folder(root: Path, encoders: list[Tensors]) -> Path:
    """Write a whole ``CLIPModel``, of which only the text encoder is read."""
    vision = {"vision_model.embeddings.class_embedding": torch.zeros(8), "visual_projection.weight": torch.zeros(8, 8)}
    write_safetensors(root / "model.safetensors", encoders[0] | vision)
    text = encoder_config("clip_h")
    (root / "config.json").write_text(json.dumps({"model_type": "clip", "text_config": text, "projection_dim": 1024}))
    return root


def comfy(*names: str) -> Callable[[Path, list[Tensors]], Path]:
    """Write ComfyUI's files into one folder."""

    def make(root: Path, encoders: list[Tensors]) -> Path:
        for name, tensors in zip(("clip_l", "clip_g"), encoders, strict=False):
            write_safetensors(root / f"{name}.safetensors", tensors)
        for name in names:
            write_safetensors(root / f"{name}.safetensors", T5)
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
        single(lambda e: add_prefix("cond_stage_model.transformer.", without_projection(e[0])), lambda e: BACKBONE),
        L, "stable-diffusion-1", ONE,
    ),
    "single SD1, older": Case(
        single(lambda e: add_prefix("cond_stage_model.transformer.", remove_prefix(without_projection(e[0])))),
        L, "stable-diffusion-1", ONE,
    ),
    "single SD2": Case(
        single(lambda e: add_prefix("cond_stage_model.model.", to_openclip(e[0]))), H, "stable-diffusion-2", ONE
    ),
    "single SDXL": Case(
        single(lambda e: add_prefix("conditioner.embedders.0.transformer.", without_projection(e[0])), sdxl_second_encoder),
        LG, "sdxl", TWO,
    ),
    "single SDXL refiner": Case(
        single(lambda e: add_prefix("conditioner.embedders.0.model.", to_openclip(e[0]))),
        ("clip_g",), "sdxl", ("text_encoder_2",),
    ),
    "single SD3": Case(single(sd3), LG, "sd3", TWO, ("text_encoder_3",)),
    "single FLUX": Case(
        single(
            single_file_clip_l,
            lambda e: add_prefix("text_encoders.t5xxl.transformer.", T5),
            lambda e: {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": torch.zeros(2)},
        ),
        L, "flux", ONE, ("text_encoder_2",),
    ),
    "OpenCLIP": Case(single(lambda e: to_openclip(e[0]) | {"visual.proj": torch.zeros(2)}), H, "clip", ONE),
    "CLIPModel folder": Case(clip_model_folder, H, "clip", ONE),
    "ComfyUI, SD3": Case(comfy("t5xxl_fp16"), LG, "sd3", TWO, ("t5xxl_fp16",)),
    "ComfyUI, SDXL": Case(comfy(), LG, "sdxl", TWO),
    "ComfyUI, FLUX": Case(comfy("t5xxl_fp16"), L, "flux", ONE, ("t5xxl_fp16",)),
    "ComfyUI, a file": Case(comfy_file, L, "clip", ONE, ("t5xxl_fp8_e4m3fn",)),
}  # fmt: skip
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@pytest.fixture(scope="module")
def build_encoder(ids: dict[str, Tensor]) -> Callable[[str, torch.dtype], tuple[Tensors, Tensor]]:
    """Random encoders and their true keys, each built once."""
    known: dict[tuple[str, torch.dtype], tuple[Tensors, Tensor]] = {}

    def make(kind: str, dtype: torch.dtype) -> tuple[Tensors, Tensor]:
        if (kind, dtype) not in known:
            tensors = random_encoder(kind, ids[kind], dtype)
            known[kind, dtype] = tensors, transformers_keys(kind, tensors, ids[kind])
        return known[kind, dtype]

    return make


@pytest.mark.parametrize("name", CASES)
def test_keys_match_transformers(name: str, build_encoder: Any, ids: dict[str, Tensor], tmp_path: Path) -> None:
    case = CASES[name]
    dtype = DTYPES[sorted(CASES).index(name) % 3]
    dtype = torch.float16 if "clip_g" in case.kinds and dtype is torch.float32 else dtype
    made = [build_encoder(kind, dtype) for kind in case.kinds]
    checkpoint = open_checkpoint(case.make(tmp_path, [tensors for tensors, _ in made]))
    assert checkpoint.family == case.family
    assert tuple(encoder.component for encoder in checkpoint.encoders) == case.components
    assert tuple(encoder.component for encoder in checkpoint.unedited_encoders) == case.unedited
    for encoder, kind, (tensors, keys) in zip(checkpoint.encoders, case.kinds, made, strict=True):
        assert (encoder.width, encoder.heads, encoder.layers) == (keys.shape[-1], keys.shape[-1] // 64, 1)
        assert encoder.activation == ("quick_gelu" if kind == "clip_l" else "gelu")
        assert encoder.tensor(OUT_PROJ.format(layer=0)).dtype is dtype
        lazy_model = LazyCLIPTextModel(encoder).in_float64()
        states = lazy_model.hidden_states_before(
            torch.tensor(open_tokenizer(encoder)(PROMPTS, padding="max_length")["input_ids"]), 0
        )
        read = lazy_model.attention(0).keys(states, all_positions(states.index))
        torch.testing.assert_close(read.reshape(keys.shape), keys, atol=1e-12, rtol=1e-10)
        for canonical in encoder.locations:
            if "token_embedding" not in canonical:
                assert torch.equal(encoder.tensor(canonical), tensors[canonical]), canonical


def test_tensors_match_the_diffusers_converter_for_sdxl(build_encoder: Any, tmp_path: Path) -> None:
    """Our tensors match those of diffusers' converter, which also checks the layouts that this test writes."""
    case = CASES["single SDXL"]
    path = case.make(tmp_path, [build_encoder(kind, torch.float16)[0] for kind in case.kinds])
    first, second = open_checkpoint(path).encoders
    stored = load_file(path)
    theirs = diffusers_reader.convert_ldm_clip_checkpoint(stored)
    assert theirs.keys() == first.locations.keys()
    assert all(torch.equal(first.tensor(name), tensor) for name, tensor in theirs.items())
    settings: Any = encoder_config("clip_g", projected=True) | {"vocab_size": 1}
    module = CLIPTextModelWithProjection(CLIPTextConfig(**settings))
    theirs = diffusers_reader.convert_open_clip_checkpoint(module, stored, prefix="conditioner.embedders.1.model.")
    assert theirs.keys() == second.locations.keys()
    assert all(torch.equal(second.tensor(name), tensor) for name, tensor in theirs.items())


def test_digest_does_not_depend_on_the_layout(build_encoder: Any, tmp_path: Path) -> None:
    tensors, _ = build_encoder("clip_h", torch.bfloat16)
    made = [CASES[name].make(tmp_path / name.replace(" ", "-"), [tensors]) for name in ("single SD2", "diffusers SD2")]
    one, other = (open_checkpoint(path).encoders[0] for path in made)
    names = [name for name in other.locations if name != "text_projection.weight"]
    assert one.digest(names) == other.digest(reversed(names))
    assert one.digest(names[:3]) != one.digest(names[:4])


def test_loaded_module_matches_transformers(ids: dict[str, Tensor], tmp_path: Path) -> None:
    """Two layers, so that activation and depth matter, and the projection, which is stored transposed."""
    tensors = random_encoder("clip_h", ids["clip_h"], torch.float16, layers=2)
    path = write_safetensors(tmp_path / "sd2.safetensors", add_prefix("cond_stage_model.model.", to_openclip(tensors)))
    ours = load_module(open_and_check(path).encoders[0], projected=True)
    settings: Any = encoder_config("clip_h", layers=2, projected=True) | {"eos_token_id": 49407}
    theirs = CLIPTextModelWithProjection(CLIPTextConfig(**settings)).eval()
    theirs.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    with torch.no_grad():
        mine, reference = ours(ids["clip_h"]), theirs(ids["clip_h"])
    torch.testing.assert_close(mine.last_hidden_state, reference.last_hidden_state, atol=0, rtol=0)
    torch.testing.assert_close(mine.text_embeds, reference.text_embeds, atol=0, rtol=0)


def open_and_check(path: Path) -> Checkpoint:
    checkpoint = open_checkpoint(path)
    assert all(encoder.vocabulary_size == VOCABULARY for encoder in checkpoint.encoders)
    return checkpoint


def clip_l(prefix: str, tensors: Tensors) -> Tensors:
    return add_prefix(prefix, without_projection(tensors))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("cond_stage_model.transformer.", "text_encoders.clip_l.transformer."),
        ("conditioner.embedders.0.transformer.", "cond_stage_model.transformer."),
        ("conditioner.embedders.0.transformer.", "text_encoders.clip_g.transformer."),
    ],
)
def test_text_encoders_of_two_models_in_one_file_are_refused(
    build_encoder: Any, tmp_path: Path, first: str, second: str
) -> None:
    """Also if they are different components: no pipeline reads both."""
    tensors, _ = build_encoder("clip_l", torch.float16)
    path = write_safetensors(tmp_path / "model.safetensors", clip_l(first, tensors) | clip_l(second, tensors))
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert f"{first!r}" in caught.value.message
    assert f"{second!r}" in caught.value.message


@pytest.mark.parametrize(
    ("prefix", "more", "family", "missing"),
    [
        ("conditioner.embedders.0.transformer.", {}, "sdxl", "text_encoder_2"),
        ("text_encoders.clip_l.transformer.", {"joint_blocks.0.x": torch.zeros(2)}, "sd3", "text_encoder_2"),
    ],
)
def test_clip_text_encoder_that_a_file_lacks_is_listed_as_unedited(
    build_encoder: Any, tmp_path: Path, prefix: str, more: Tensors, family: str, missing: str
) -> None:
    tensors, _ = build_encoder("clip_l", torch.float16)
    checkpoint = open_checkpoint(write_safetensors(tmp_path / "model.safetensors", clip_l(prefix, tensors) | more))
    assert checkpoint.family == family
    assert [encoder.component for encoder in checkpoint.encoders] == ["text_encoder"]
    absent = checkpoint.unedited_encoders[0]
    assert (absent.component, 0 < absent.share < 1) == (missing, True)
    assert "does not contain" in absent.limitation


@pytest.mark.parametrize(
    ("prefix", "other"),
    [
        ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.transformer.other_layout.weight"),
        ("text_encoders.clip_l.transformer.", "text_encoders.clip_g.other_layout.weight"),
    ],
)
def test_text_encoder_that_is_not_recognized_is_refused(
    build_encoder: Any, tmp_path: Path, prefix: str, other: str
) -> None:
    tensors, _ = build_encoder("clip_l", torch.float16)
    mark = {"joint_blocks.0.x": torch.zeros(2)} if "clip_g" in other else {}
    path = write_safetensors(tmp_path / "model.safetensors", clip_l(prefix, tensors) | mark | {other: torch.zeros(2)})
    with pytest.raises(CheckpointError, match="text_encoder_2 in an unsupported layout") as caught:
        open_checkpoint(path)
    assert other in caught.value.message


def test_added_tokens_of_a_single_file_are_named(tmp_path: Path) -> None:
    """Textual inversion saved into the checkpoint: the file does not say what its added tokens are."""
    tokens = {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": torch.zeros(49410, 4)}
    with pytest.raises(CheckpointError, match=r"49,410 token embeddings.* 2 tokens were added") as caught:
        open_checkpoint(write_safetensors(tmp_path / "model.safetensors", tokens))
    assert "tokenizer" in caught.value.remedy


@pytest.mark.parametrize("layout", ["folder", "file"])
@pytest.mark.parametrize(
    ("wrap", "cause"),
    [
        (lambda name: f"_orig_mod.{name}", "torch.compile"),
        (lambda name: f"module.{name}", "DataParallel"),
        (lambda name: f"base_model.model.{name}", "PEFT"),
        (lambda name: name.replace("out_proj.", "out_proj.base_layer."), "PEFT"),
    ],
)
def test_weights_of_a_wrapped_module_are_refused_with_their_cause(
    build_encoder: Any, tmp_path: Path, wrap: Callable[[str], str], cause: str, layout: str
) -> None:
    tensors, _ = build_encoder("clip_l", torch.float16)
    stored = {wrap(name): tensor for name, tensor in without_projection(tensors).items()}
    path = write_safetensors(tmp_path / "text_encoder" / "model.safetensors", stored)
    (path.parent / "config.json").write_text(json.dumps(encoder_config("clip_l")))
    with pytest.raises(CheckpointError, match=cause) as caught:
        open_checkpoint(tmp_path if layout == "folder" else path)
    assert "`model." in caught.value.remedy
