"""Open a folder: a diffusers pipeline, a CLIP model of transformers, ComfyUI's text encoders, or one single-file checkpoint."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from api_schemas.model_files import VARIANT_SETTING
from editor.checkpoints.base_model import Checkpoint
from editor.checkpoints.key_mapping import (
    FIRST_LAYER,
    LAYER_NAMES,
    TEXT_PROJECTION,
    TOKEN_EMBEDDING,
    TOP_LEVEL_NAMES,
    Component,
    Family,
    find_encoders,
)
from editor.checkpoints.safe_paths import check_inside, chosen_variant, find_weights, read_json
from editor.checkpoints.single_file import READABLE_LAYOUTS, open_file, read_encoder
from editor.checkpoints.tensor_reader import TensorFile
from editor.checkpoints.text_encoder import Activation, TensorLocation, TextEncoder, check_precision, check_shapes
from editor.checkpoints.tokenizers import TOKENIZER_FILES
from editor.checkpoints.unedited_encoders import UneditedEncoder, sequence_encoder, t5_encoder
from editor.checkpoints.wrapped_modules import check_unwrapped
from editor.errors import CheckpointError

PIPELINE_FAMILIES: tuple[tuple[str, Family], ...] = (
    ("StableDiffusionXL", "sdxl"),
    ("StableDiffusion3", "sd3"),
    ("StableDiffusion", "stable-diffusion-1"),
    ("LatentConsistencyModel", "stable-diffusion-1"),
    ("AnimateDiff", "stable-diffusion-1"),
    ("Flux(?!2)", "flux"),
    ("ChromaPipeline", "chroma"),
    ("PixArt(Alpha|Sigma)Pipeline", "pixart"),
    ("Sana(PAG|Sprint)?Pipeline", "sana"),
    ("Lumina2Pipeline", "lumina2"),
    ("QwenImagePipeline", "qwen-image"),
    ("ZImagePipeline", "z-image"),
)
"""Prefixes of diffusers' pipeline classes. Stable Diffusion 1 and 2 share a class; their text encoders tell them apart."""
COMPONENTS: tuple[Component, ...] = ("text_encoder", "text_encoder_2")
TEXT_ENCODERS = (*COMPONENTS, "text_encoder_3", "text_encoder_4")
GATED_FAMILIES: Mapping[Family, str] = {
    "chroma": "t5",
    "pixart": "t5",
    "sana": "gemma2",
    "lumina2": "gemma2",
    "qwen-image": "qwen2_5_vl",
    "z-image": "qwen3",
}
"""Families without CLIP, which are edited where the denoiser reads the text, and the kind of their only text encoder."""
FAMILIES = "Stable Diffusion, SDXL, SD3, FLUX.1, Chroma, PixArt, Sana, Lumina 2, Qwen-Image and Z-Image"
NO_EDIT = (
    "Its images can be generated and judged, but no concept can be removed from it yet. Use a model of those families."
)
TOKENIZER_FOLDERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
T5_COMPONENTS = ("text_encoder_2", "text_encoder_3")
COMFYUI_FILES: tuple[tuple[str, Component], ...] = (("clip_l", "text_encoder"), ("clip_g", "text_encoder_2"))
"""File names of ComfyUI's text encoders."""
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
"""Defaults of transformers' ``CLIPTextConfig``, which a configuration file may omit."""


def open_folder(root: Path) -> Checkpoint:
    """Open a folder. Raises the errors of :func:`editor.checkpoints.open_checkpoint`."""
    checkpoint = open_layout(root)
    check_variant(checkpoint, chosen_variant())
    return checkpoint


def check_variant(checkpoint: Checkpoint, variant: str | None) -> None:
    """Raise CheckpointError if a variant is chosen that no edited component of the model has."""
    edited = checkpoint.encoders or (checkpoint.require_denoiser(),)
    files = sorted({path.name for component in edited for path in component.files})
    if variant and not any(f".{variant}." in name or f".{variant}-" in name for name in files):
        raise CheckpointError(
            f"{checkpoint.path} has no weights in the variant {variant!r}; it has {', '.join(files)}.",
            field="variant",
            remedy=f"Name an existing variant, or unset {VARIANT_SETTING}.",
        )


def open_layout(root: Path) -> Checkpoint:
    """Open a folder in the layout that its files show."""
    if (root / "model_index.json").is_file() or any((root / name).is_dir() for name in COMPONENTS):
        return open_pipeline(root)
    if (root / "config.json").is_file():
        return Checkpoint(root, "clip", (open_encoder(root, root, "text_encoder", tokenizer=root),))
    if any((root / f"{name}.safetensors").is_file() for name, _ in COMFYUI_FILES):
        return open_comfyui_folder(root)
    files = sorted(root.glob("*.safetensors"))
    if len(files) == 1:
        return open_file(check_inside(root, files[0]))
    names = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "no files"
    raise CheckpointError(
        f"{root} contains no supported model; it has {names}.", field="model", remedy=READABLE_LAYOUTS
    )


def open_pipeline(root: Path) -> Checkpoint:
    """Open a diffusers folder."""
    index = read_json(check_inside(root, root / "model_index.json")) if (root / "model_index.json").is_file() else {}
    class_family = family_of_pipeline(root, index)
    if class_family and class_family in GATED_FAMILIES:
        return open_gated_pipeline(root, class_family)
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
    family = infer_family(class_family, encoders, present)
    return Checkpoint(root, family, encoders, t5_encoders(present, family))


def open_gated_pipeline(root: Path, family: Family) -> Checkpoint:
    """Open a diffusers folder of a family without CLIP. Raises CheckpointError: its text encoder is not the family's."""
    found, expected = model_type(root, root / "text_encoder"), GATED_FAMILIES[family]
    if found != expected:
        raise unusable_folder(root / "text_encoder", f"is {found}, not {expected}", READABLE_LAYOUTS)
    return Checkpoint(root, family, (), (sequence_encoder("text_encoder", found),))


def has_component(root: Path, index: Mapping[str, Any], name: str) -> bool:
    """Return whether the index lists a component or, without an index, whether its folder exists."""
    entry = index.get(name)
    return entry[0] is not None if isinstance(entry, list) and entry else (root / name).is_dir()


def model_type(root: Path, folder: Path) -> str:
    """Return the ``model_type`` in the configuration of a text encoder."""
    return str(read_json(check_inside(root, folder / "config.json")).get("model_type", "no known model"))


def family_of_pipeline(root: Path, index: Mapping[str, Any]) -> Family | None:
    """Return the family of an index's pipeline class; None if it names no class."""
    pipeline = index.get("_class_name")
    if pipeline is None:
        return None
    for start, family in PIPELINE_FAMILIES:
        if re.match(start, str(pipeline)):
            return family
    kinds = [model_type(root, root / name) for name in TEXT_ENCODERS if has_component(root, index, name)]
    how = f", which reads prompts through {' and '.join(kinds)}" if kinds else ""
    raise unusable_folder(root, f"is a {pipeline}{how}; concepts are removed from {FAMILIES}", NO_EDIT)


def infer_family(class_family: Family | None, encoders: tuple[TextEncoder, ...], present: Mapping[str, str]) -> Family:
    """Infer the family from the pipeline class or, if that is ambiguous, from the text encoders."""
    if class_family and class_family != "stable-diffusion-1":
        return class_family
    if "t5" in present.values():
        return "sd3" if "text_encoder_3" in present else "flux"
    if any(encoder.component == "text_encoder_2" for encoder in encoders):
        return "sdxl"
    return "stable-diffusion-1" if encoders[0].activation == "quick_gelu" else "stable-diffusion-2"


def t5_encoders(present: Mapping[str, str], family: Family) -> tuple[UneditedEncoder, ...]:
    """Return the T5 encoders of a pipeline."""
    return tuple(t5_encoder(name, family) for name in T5_COMPONENTS if present.get(name) == "t5")


def open_comfyui_folder(root: Path) -> Checkpoint:
    """Open a folder of ComfyUI's text encoders: ``clip_l``, ``clip_g`` and a ``t5xxl`` file."""
    encoders = []
    for name, component in COMFYUI_FILES:
        path = root / f"{name}.safetensors"
        if path.is_file():
            file = TensorFile(check_inside(root, path))
            encoders += [read_encoder(file, *found, component) for found in find_encoders(file.layout.spans)]
    if not encoders:
        raise CheckpointError(f"{root} contains no CLIP text encoder.", field="model", remedy=READABLE_LAYOUTS)
    t5_files = sorted(root.glob("t5xxl*.safetensors"))
    family: Family = "sd3" if len(encoders) == 2 else "flux"
    if not t5_files:
        family = "sdxl" if len(encoders) == 2 else "clip"
    return Checkpoint(root, family, tuple(encoders), tuple(t5_encoder(path.stem, family) for path in t5_files[:1]))


def open_encoder(root: Path, folder: Path, component: str, tokenizer: Path) -> TextEncoder:
    """Open a CLIP text encoder of transformers. The configuration gives its dimensions, and the tensors must match them."""
    config = text_config(folder, read_json(check_inside(root, folder / "config.json")))
    encoder = TextEncoder(
        component=component,
        heads=config["num_attention_heads"],
        eps=config["layer_norm_eps"],
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        activation=config["hidden_act"],
        locations=locate_tensors(root, folder),
        tokenizer_folder=check_tokenizer_folder(root, tokenizer),
        config=config,
    )
    check_config(folder, encoder)
    check_shapes(encoder)
    check_precision(encoder)
    return encoder


def check_tokenizer_folder(root: Path, folder: Path) -> Path:
    """Return the folder unchanged. Raises CheckpointError if one of its files is a link out of the model's folder."""
    for name in TOKENIZER_FILES:
        check_inside(root, folder / name)
    return folder


def locate_tensors(root: Path, folder: Path) -> dict[str, TensorLocation]:
    """Find the tensors of an encoder, which may be sharded over several files."""
    stored = {
        name: file
        for path in find_weights(root, folder, variant=chosen_variant())
        for file in [TensorFile(path)]
        for name in file.layout.spans
    }
    check_unwrapped(folder, stored)
    found = find_encoders(stored)
    if not found:
        raise CheckpointError(
            f"The weights in {folder} contain no CLIP text encoder.", field="model", remedy=READABLE_LAYOUTS
        )
    where, scheme = found[0]
    names = scheme.map_names(where.prefix, scheme.count_layers(where.prefix, stored), stored)
    return {
        name: TensorLocation(stored[tensor.name], tensor) for name, tensor in names.items() if tensor.name in stored
    }


def text_config(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return the text part of a configuration, with defaults filled in. Raises CheckpointError if a value is invalid."""
    if config.get("model_type") not in CLIP_TYPES:
        model_type = config.get("model_type", "of unknown type")
        raise unusable_folder(folder, f"is {model_type}, not a CLIP text encoder", READABLE_LAYOUTS)
    if "quantization_config" in config:
        raise unusable_folder(folder, "is quantised and can't be edited", "Use it in fp16, bf16 or fp32.")
    nested = nested_text_config(config)
    complete = CLIP_CONFIG_DEFAULTS | nested if isinstance(nested, dict) else {}
    wrong = [
        name
        for name, default in CLIP_CONFIG_DEFAULTS.items()
        if not is_valid_setting(complete.get(name), type(default))
    ]
    if wrong or complete["hidden_size"] % complete["num_attention_heads"]:
        raise unusable_folder(
            folder, f"has an invalid {wrong[0] if wrong else 'num_attention_heads'} in its configuration"
        )
    if complete["hidden_act"] not in get_args(Activation):
        raise unusable_folder(
            folder, f"has the activation {complete['hidden_act']}, which CLIP text encoders do not use"
        )
    return complete


def nested_text_config(config: dict[str, Any]) -> Any:
    """Return the part about the text encoder. As in transformers' ``CLIPConfig``, ``text_config_dict`` takes precedence."""
    older = config.get("text_config_dict")
    if older is None:
        return config.get("text_config", config)
    newer = config.get("text_config") or {}
    return newer | CLIP_CONFIG_DEFAULTS | older if isinstance(older, dict) and isinstance(newer, dict) else None


def is_valid_setting(value: object, kind: type) -> bool:
    """Return whether a setting has the right type and, if it is a number, is positive."""
    return type(value) is kind and (kind is str or value > 0)  # type: ignore[operator]


def check_config(folder: Path, encoder: TextEncoder) -> None:
    """Check that the weights match the configuration: every tensor exists and has the configured size."""
    layers = sum(name.endswith(".layer_norm1.weight") for name in encoder.locations)
    tensors = len(TOP_LEVEL_NAMES) + layers * len(LAYER_NAMES)
    if layers != encoder.layers or len(encoder.locations.keys() - {TEXT_PROJECTION}) != tensors:
        raise unusable_folder(folder, f"lacks tensors of the {encoder.layers} layers that its configuration declares")
    found = {
        "vocab_size": encoder.vocabulary_size,
        "max_position_embeddings": encoder.context_length,
        "hidden_size": encoder.shape(TOKEN_EMBEDDING)[-1],
        "intermediate_size": encoder.shape(FIRST_LAYER + "mlp.fc1.bias")[0],
    }
    for name, size in found.items():
        if encoder.config[name] != size:
            raise unusable_folder(folder, f"declares {name} {encoder.config[name]}, but its weights have {size}")


def unusable_folder(folder: Path, why: str, remedy: str = "Download the model again.") -> CheckpointError:
    """Return the error for a folder that can't be used."""
    return CheckpointError(f"{folder} {why}.", field="model", remedy=remedy)
