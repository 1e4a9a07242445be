"""Put a pipeline on a device, as the settings ask for."""

from typing import Any

import torch

from editor.generation.batch_size import batch_size_of, forget_batch_size
from editor.generation.device import ComputeDevice
from editor.generation.module_device import denoiser_of, upcast_vae

CHANNELS_LAST_DEVICES = ("cpu", "cuda")
"""Devices whose convolutions are faster in channels-last memory layout."""


def place_pipeline(pipeline: Any, device: ComputeDevice) -> Any:
    """Put a pipeline on a device: its weights, what is offloaded, how large images are decoded, and the memory ceiling.

    The VAE of SDXL is kept in float32: it overflows in float16. Returns the pipeline.
    """
    settings = device.settings
    upcast_vae(pipeline)
    batch_size_of(pipeline).memory = settings.memory
    if device.torch_device.type in CHANNELS_LAST_DEVICES and getattr(pipeline, "unet", None) is not None:
        pipeline.unet.to(memory_format=torch.channels_last)
    if settings.vae_tiling and hasattr(getattr(pipeline, "vae", None), "enable_tiling"):
        pipeline.vae.enable_tiling()
    if settings.compile:
        denoiser_of(pipeline).compile()
    allow_tf32(device)
    move_pipeline(pipeline, device)
    return pipeline


def allow_tf32(device: ComputeDevice) -> None:
    """Let a GPU multiply float32 weights in TF32, unless the precision is float32. Otherwise an earlier job would decide."""
    if device.torch_device.type == "cuda":
        allowed = device.precision != "float32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def reset_pipeline(pipeline: Any, device: ComputeDevice) -> Any:
    """Forget what earlier jobs left in a pipeline besides its weights: batch sizes and the scheduler's steps.

    Returns the pipeline.
    """
    forget_batch_size(pipeline)
    batch_size_of(pipeline).memory = device.settings.memory
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    return pipeline


def move_pipeline(pipeline: Any, device: ComputeDevice) -> None:
    """Move the weights to the device, now or when they are needed."""
    if device.torch_device.type == "cpu" or device.settings.offload == "none":
        pipeline.to(device.torch_device)
    elif device.settings.offload == "model":
        pipeline.enable_model_cpu_offload(device=device.torch_device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device.torch_device)
