"""Folders: a pipeline of diffusers, a CLIP model of transformers, ComfyUI's text encoders, or a lone single file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from editor.checkpoints.base_model import Checkpoint
from editor.checkpoints.key_mapping import (
    FIRST_LAYER,
    LAYER_NAMES,
    PROJECTION,
    TOKENS,
    TOP_LEVEL_NAMES,
    Component,
    Family,
    find_encoders,
)
from editor.checkpoints.safe_paths import check_inside, find_weights, read_json
from editor.checkpoints.single_file import READABLE_LAYOUTS, open_file, read_encoder
from editor.checkpoints.tensor_reader import TensorFile
from editor.checkpoints.text_encoder import Activation, TensorLocation, TextEncoder, check_precision, check_shapes
from editor.checkpoints.tokenizers import TOKENIZER_FILES
from editor.checkpoints.unedited_encoders import UneditedEncoder, t5_encoder
from editor.errors import CheckpointError

PIPELINE_FAMILIES: tuple[tuple[str, Family], ...] = (
    ("StableDiffusionXL", "sdxl"),
    ("StableDiffusion3", "sd3"),
    ("StableDiffusion", "stable-diffusion-1"),
    ("LatentConsistencyModel", "stable-diffusion-1"),
    ("AnimateDiff", "stable-diffusion-1"),
    ("Flux(?!2)", "flux"),
)
"""How diffusers' pipeline classes begin; the second version of Stable Diffusion has the first one's class."""
COMPONENTS: tuple[Component, ...] = ("text_encoder", "text_encoder_2")
TOKENIZER_FOLDERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
T5_COMPONENTS = ("text_encoder_2", "text_encoder_3")
COMFYUI_FILES: tuple[tuple[str, Component], ...] = (("clip_l", "text_encoder"), ("clip_g", "text_encoder_2"))
"""ComfyUI's names of encoder files."""
CLIP_TYPES = ("clip_text_model", "clip")
CLIP_CONFIG_DEFAULTS: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "layer_norm_eps": 1e-5,
    "hidden_act": "quick_gelu",
}
"""transformers' ``CLIPTextConfig``, which a configuration leaves out where it agrees."""


def open_folder(root: Path) -> Checkpoint:
    """Open a folder. Raises as :func:`editor.checkpoints.open_checkpoint` does."""
    if (root / "model_index.json").is_file() or any((root / name).is_dir() for name in COMPONENTS):
        return open_pipeline(root)
    if (root / "config.json").is_file():
        return Checkpoint(root, "clip", (open_encoder(root, root, "text_encoder", tokenizer=root),))
    if any((root / f"{name}.safetensors").is_file() for name, _ in COMFYUI_FILES):
        return open_comfyui_folder(root)
    files = sorted(root.glob("*.safetensors"))
    if len(files) == 1:
        return open_file(check_inside(root, files[0]))
    raise CheckpointError(
        f"{root} holds {', '.join(sorted(path.name for path in root.iterdir())[:8]) or 'nothing'}: no model that we know.",
        field="model",
        remedy=READABLE_LAYOUTS,
    )


def open_pipeline(root: Path) -> Checkpoint:
    """A diffusers folder."""
    index = read_json(check_inside(root, root / "model_index.json")) if (root / "model_index.json").is_file() else {}
    named = family_of_pipeline(root, index.get("_class_name"))
    present = {
        name: model_type(root, root / name)
        for name in (*COMPONENTS, "text_encoder_3")
        if has_component(root, index, name)
    }
    encoders = tuple(
        open_encoder(root, root / name, name, root / TOKENIZER_FOLDERS[name])
        for name in COMPONENTS
        if present.get(name, "t5") != "t5"
    )
    if not encoders:
        raise CheckpointError(f"{root} has no CLIP text encoder.", field="model", remedy=READABLE_LAYOUTS)
    family = infer_family(named, encoders, present)
    return Checkpoint(root, family, encoders, t5_encoders(present, family))


def has_component(root: Path, index: Mapping[str, Any], name: str) -> bool:
    """Whether the pipeline has a component: the index says so, or without an index its folder is there."""
    entry = index.get(name)
    return entry[0] is not None if isinstance(entry, list) and entry else (root / name).is_dir()


def model_type(root: Path, folder: Path) -> str:
    """What the configuration of a text encoder says it is."""
    return str(read_json(check_inside(root, folder / "config.json")).get("model_type", "no known model"))


def family_of_pipeline(root: Path, pipeline: object) -> Family | None:
    """The family of a pipeline's class; None where the index names no class."""
    if pipeline is None:
        return None
    for start, family in PIPELINE_FAMILIES:
        if re.match(start, str(pipeline)):
            return family
    raise unusable_folder(root, f"is a {pipeline}, which is no pipeline that we know", READABLE_LAYOUTS)


def infer_family(named: Family | None, encoders: tuple[TextEncoder, ...], present: Mapping[str, str]) -> Family:
    """By the pipeline's class where that is enough, else by its encoders."""
    if named and named != "stable-diffusion-1":
        return named
    if "t5" in present.values():
        return "sd3" if "text_encoder_3" in present else "flux"
    if any(encoder.component == "text_encoder_2" for encoder in encoders):
        return "sdxl"
    return "stable-diffusion-1" if encoders[0].activation == "quick_gelu" else "stable-diffusion-2"


def t5_encoders(present: Mapping[str, str], family: Family) -> tuple[UneditedEncoder, ...]:
    """The T5 encoders of a pipeline."""
    return tuple(t5_encoder(name, family) for name in T5_COMPONENTS if present.get(name) == "t5")


def open_comfyui_folder(root: Path) -> Checkpoint:
    """A folder of ComfyUI's text encoders: ``clip_l``, ``clip_g`` and any ``t5xxl``."""
    encoders = []
    for name, component in COMFYUI_FILES:
        path = root / f"{name}.safetensors"
        if path.is_file():
            file = TensorFile(check_inside(root, path))
            encoders += [read_encoder(file, *found, component) for found in find_encoders(file.layout.spans)]
    if not encoders:
        raise CheckpointError(f"{root} holds no CLIP text encoder.", field="model", remedy=READABLE_LAYOUTS)
    beside = sorted(root.glob("t5xxl*.safetensors"))
    family: Family = "sd3" if len(encoders) == 2 else "flux"
    if not beside:
        family = "sdxl" if len(encoders) == 2 else "clip"
    return Checkpoint(root, family, tuple(encoders), tuple(t5_encoder(path.stem, family) for path in beside[:1]))


def open_encoder(root: Path, folder: Path, component: str, tokenizer: Path) -> TextEncoder:
    """A CLIP text encoder of transformers: the configuration gives the geometry, and the tensors must agree."""
    config = text_config(folder, read_json(check_inside(root, folder / "config.json")))
    encoder = TextEncoder(
        component=component,
        heads=config["num_attention_heads"],
        eps=config["layer_norm_eps"],
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        activation=config["hidden_act"],
        places=locate_tensors(root, folder),
        tokenizer_folder=check_tokenizer_folder(root, tokenizer),
        config=config,
    )
    check_config(folder, encoder)
    check_shapes(encoder)
    check_precision(encoder)
    return encoder


def check_tokenizer_folder(root: Path, folder: Path) -> Path:
    """The folder of a tokenizer, none of whose files leads out of the model's folder."""
    for name in TOKENIZER_FILES:
        check_inside(root, folder / name)
    return folder


def locate_tensors(root: Path, folder: Path) -> dict[str, TensorLocation]:
    """The tensors of an encoder that may be spread over several files."""
    stored = {
        name: file for path in find_weights(root, folder) for file in [TensorFile(path)] for name in file.layout.spans
    }
    found = find_encoders(stored)
    if not found:
        raise CheckpointError(
            f"The weights in {folder} hold no CLIP text encoder.", field="model", remedy=READABLE_LAYOUTS
        )
    site, scheme = found[0]
    names = scheme.names(site.prefix, scheme.depth(site.prefix, stored), stored)
    return {name: TensorLocation(stored[place.name], place) for name, place in names.items() if place.name in stored}


def text_config(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The text half of a configuration, complete and of the right types."""
    if config.get("model_type") not in CLIP_TYPES:
        model_type = config.get("model_type", "of unknown type")
        raise unusable_folder(folder, f"is {model_type}, not a CLIP text encoder", READABLE_LAYOUTS)
    if "quantization_config" in config:
        raise unusable_folder(folder, "is quantised and can't be edited", "Use it in fp16, bf16 or fp32.")
    nested = config.get("text_config", config)
    complete = CLIP_CONFIG_DEFAULTS | nested if isinstance(nested, dict) else {}
    wrong = [
        name
        for name, default in CLIP_CONFIG_DEFAULTS.items()
        if not is_valid_setting(complete.get(name), type(default))
    ]
    if wrong or complete["hidden_size"] % complete["num_attention_heads"]:
        raise unusable_folder(folder, f"has an impossible {wrong[0] if wrong else 'num_attention_heads'}")
    if complete["hidden_act"] not in get_args(Activation):
        raise unusable_folder(folder, f"has the activation {complete['hidden_act']}, which CLIP does not")
    return complete


def is_valid_setting(value: object, kind: type) -> bool:
    """Whether a setting has its type, and a number is positive."""
    return type(value) is kind and (kind is str or value > 0)  # type: ignore[operator]


def check_config(folder: Path, encoder: TextEncoder) -> None:
    """The weights are those that the configuration means: all of them, and of its sizes."""
    layers = sum(name.endswith(".layer_norm1.weight") for name in encoder.places)
    tensors = len(TOP_LEVEL_NAMES) + layers * len(LAYER_NAMES)
    if layers != encoder.layers or len(encoder.places.keys() - {PROJECTION}) != tensors:
        raise unusable_folder(folder, f"lacks tensors of the {encoder.layers} layers that its configuration names")
    found = {
        "vocab_size": encoder.vocabulary,
        "max_position_embeddings": encoder.context,
        "hidden_size": encoder.shape(TOKENS)[-1],
        "intermediate_size": encoder.shape(FIRST_LAYER + "mlp.fc1.bias")[0],
    }
    for name, size in found.items():
        if encoder.config[name] != size:
            raise unusable_folder(folder, f"says {name} {encoder.config[name]} where its weights have {size}")


def unusable_folder(folder: Path, why: str, remedy: str = "Fetch the model again.") -> CheckpointError:
    """An encoder's folder that can't be used."""
    return CheckpointError(f"{folder} {why}.", field="model", remedy=remedy)
