"""Load a denoiser, an autoencoder or a T5 text encoder from a file, for generation only: fp8 weights are converted."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editor.errors import CheckpointError
from editor.generation.pipelines.parts import Part

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
SCALES = (".scale_weight", ".weight_scale")
"""Suffixes of the scale of an fp8 weight, as ComfyUI writes them."""
OTHER_SCALES = (".scale_input", ".input_scale", ".comfy_quant", "scaled_fp8")
"""Tensors beside fp8 weights that are not needed to restore the weights."""
MAX_LISTED = 5
"""Missing tensors that an error lists."""
ORIGINAL_UNET, UNET_PREFIX = "input_blocks.0.0.weight", "model.diffusion_model."


def read_weights(part: Part, dtype: torch.dtype) -> dict[str, Tensor]:
    """Read the tensors of a component. fp8 weights are multiplied by their scales and converted to ``dtype``.

    Raises:
        CheckpointError: the weights have another quantised format.
    """
    stored = part.read()
    scales = {
        name.removesuffix(suffix): value for name, value in stored.items() for suffix in SCALES if name.endswith(suffix)
    }
    weights = {name: value for name, value in stored.items() if not name.endswith((*SCALES, *OTHER_SCALES))}
    for name, value in weights.items():
        if value.dtype in FP8:
            weights[name] = value.to(dtype) * scales.get(name.removesuffix(".weight"), torch.ones(())).to(dtype)
        elif not value.is_floating_point() and value.dim() > 1:
            raise CheckpointError(
                f"{part.prefix}{name} in {part.path} is quantised ({value.dtype}).",
                field="components",
                remedy="Use the file in fp8, fp16, bf16 or fp32.",
            )
    return weights


def load_model(model_class: Any, part: Part, configs: Path, name: str, dtype: torch.dtype) -> Any:
    """Load a denoiser or an autoencoder of diffusers from a file with the original tensor names or those of diffusers.

    Args:
        configs: a folder that contains ``NAME/config.json``.
        name: the component.

    Raises:
        CheckpointError: the weights do not fit the configuration.
    """
    weights = read_weights(part, dtype)
    if ORIGINAL_UNET in weights:  # diffusers converts a UNet only with its prefix
        weights = {UNET_PREFIX + key: value for key, value in weights.items()}
    try:
        model = model_class.from_single_file(
            weights, config=str(configs), subfolder=name, local_files_only=True, torch_dtype=dtype
        )
    except Exception as error:  # diffusers and torch raise many kinds of exceptions
        raise unfit(part.path, name, str(error)) from error
    check_complete(part.path, name, [key for key, value in model.state_dict().items() if value.is_meta])
    return model


def load_t5(model_class: Any, part: Part, config: Path, name: str, dtype: torch.dtype) -> Any:
    """Load a T5 text encoder of transformers from a file, with the configuration in the folder ``config``.

    Raises:
        CheckpointError: the weights do not fit the configuration.
    """
    settings = model_class.config_class.from_pretrained(config, local_files_only=True)
    try:
        model, info = model_class.from_pretrained(
            None, config=settings, state_dict=read_weights(part, dtype), dtype=dtype, output_loading_info=True
        )
    except Exception as error:  # transformers and torch raise many kinds of exceptions
        raise unfit(part.path, name, str(error)) from error
    check_complete(part.path, name, sorted(info["missing_keys"]))
    return model.eval()


def check_gguf_is_installed(file: Path) -> None:
    """Raise CheckpointError if the package that reads GGUF files is not installed."""
    if not find_spec("gguf"):
        raise CheckpointError(
            f"{file} is a GGUF file, and the package gguf is not installed.",
            field="components",
            remedy="Run `pip install gguf`, or use the text encoder in safetensors: fp8, fp16, bf16 or fp32.",
        )


def load_gguf_t5(model_class: Any, file: Path, config: Path, dtype: torch.dtype) -> Any:
    """Load a T5 text encoder from a GGUF file through transformers. Raises CheckpointError if the file is unreadable."""
    settings = model_class.config_class.from_pretrained(config, local_files_only=True)
    try:
        model, info = model_class.from_pretrained(
            file.parent, gguf_file=file.name, config=settings, dtype=dtype, output_loading_info=True
        )
    except Exception as error:  # transformers and gguf raise many kinds of exceptions
        raise CheckpointError(
            f"{file} can't be read: {error}.", field="components", remedy="Use the text encoder in safetensors."
        ) from error
    check_complete(file, "text encoder", sorted(info["missing_keys"]))
    return model.eval()


def check_complete(path: Path, name: str, missing: list[str]) -> None:
    """Raise CheckpointError if a file lacked tensors of its model."""
    if missing:
        some = ", ".join(missing[:MAX_LISTED]) + (", ..." if len(missing) > MAX_LISTED else "")
        raise unfit(path, name, f"{len(missing)} tensors are missing: {some}")


def unfit(path: Path, name: str, why: str) -> CheckpointError:
    """Return the error for a file whose tensors do not fit the configuration."""
    return CheckpointError(
        f"{path} does not fit the configuration of the {name}: {why.rstrip('.')}.",
        field="components",
        remedy=f"Put the {name}/config.json of this very model into the folder passed as --components.",
    )
