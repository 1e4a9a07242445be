"""Where a pipeline's modules are, and how to compute on the device and in the precision of one."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from editor.generation.device import Precision


def upcast_vae(pipeline: Any) -> None:
    """Keep the VAE of SDXL in float32."""
    if needs_float32_vae(pipeline) and pipeline.vae.dtype != torch.float32:
        pipeline.vae.to(dtype=torch.float32)


def needs_float32_vae(pipeline: Any) -> bool:
    """Return whether a pipeline is of SDXL, unless its VAE is a version that is safe in float16."""
    return is_sdxl(pipeline) and bool(pipeline.vae.config.force_upcast)


def is_sdxl(pipeline: Any) -> bool:
    """Return whether a pipeline has a UNet that is conditioned on two text encoders and a pooled embedding."""
    return getattr(pipeline, "unet", None) is not None and hasattr(pipeline, "text_encoder_2")


def denoiser_of(pipeline: Any) -> Any:
    """Return the UNet or transformer of a pipeline."""
    return getattr(pipeline, "unet", None) or pipeline.transformer


def native_size(pipeline: Any) -> tuple[int, int] | None:
    """Return height and width in pixels that the denoiser was trained on; None if neither it nor the pipeline says."""
    latent = getattr(denoiser_of(pipeline).config, "sample_size", None) or getattr(
        pipeline, "default_sample_size", None
    )
    if latent is None:
        return None
    height, width = latent if isinstance(latent, (tuple, list)) else (latent, latent)
    return int(height * pipeline.vae_scale_factor), int(width * pipeline.vae_scale_factor)


def modules_of(pipeline: Any) -> Iterator[nn.Module]:
    """Yield the pipeline's components that are modules."""
    return (part for part in pipeline.components.values() if isinstance(part, nn.Module))


def is_offloaded(pipeline: Any) -> bool:
    """Return whether weights of the pipeline wait in the CPU's memory until they are needed."""
    return any(hasattr(module, "_hf_hook") for part in modules_of(pipeline) for module in part.modules())


def execution_device(module: nn.Module) -> torch.device:
    """Return the device that a module's inputs must be on, which offloaded weights are moved to."""
    from diffusers.utils.torch_utils import get_module_execution_device

    device: torch.device = get_module_execution_device(module)
    return device


def input_dtype(module: nn.Module) -> torch.dtype:
    """Return the dtype that a module's inputs must have: that of its weights."""
    return next(parameter.dtype for parameter in module.parameters() if parameter.is_floating_point())


def to_module(module: nn.Module, tensor: Tensor) -> Tensor:
    """Return a tensor on a module's device and, if it is floating point, in the dtype of its weights."""
    dtype = input_dtype(module) if tensor.is_floating_point() else tensor.dtype
    return tensor.to(execution_device(module), dtype)


def autocast(module: nn.Module, precision: Precision) -> AbstractContextManager[Any]:
    """Return a context manager that computes matrix products of float32 weights in a precision.

    Weights of a lower precision need no casts: products are computed in theirs.
    """
    if precision == "float32" or input_dtype(module) != torch.float32:
        return nullcontext()
    return torch.autocast(execution_device(module).type, dtype=getattr(torch, precision))


def without_autocast(module: nn.Module) -> AbstractContextManager[Any]:
    """Return a context manager that computes in the dtype of the weights, inside of an autocast."""
    device = execution_device(module).type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def in_float64(tensor: Tensor) -> Tensor:
    """Return a tensor in float64; on the CPU if its device, Apple's MPS, has no float64."""
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()
