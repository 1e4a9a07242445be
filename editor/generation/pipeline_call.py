"""Generate images by the pipeline's own call: every text-to-image family that diffusers loads.

Families differ in the arguments of their call. Those that exist are passed by name, so a new family needs no code here.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from editor.generation.config import Image, Sampler
from editor.generation.denoiser import override_attribute
from editor.generation.guidance import guidance_arguments
from editor.generation.module_device import autocast, denoiser_of, native_size, needs_float32_vae, without_autocast
from editor.io.progress import ProgressCallback, no_progress

PromptInputs = Mapping[str, Any]
"""Arguments of the pipeline's call with one row per image: ``prompt``, or embeddings such as ``prompt_embeds``."""
FIXED_ARGUMENTS = {"use_resolution_binning": False, "clean_caption": False}
"""The size and the prompts are used as given; cleaning them would depend on packages that may be missing."""


@torch.no_grad()
def call_pipeline(
    pipeline: Any,
    sampler: Sampler,
    inputs: PromptInputs,
    seeds: Sequence[int],
    progress: ProgressCallback = no_progress,
) -> list[Image]:
    """Generate one image for each row of the inputs and its seed, in one batch."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    accepted = inspect.signature(pipeline.__call__).parameters
    arguments = {
        "num_inference_steps": sampler.steps,
        "output_type": "np",
        **FIXED_ARGUMENTS,
        **size_arguments(pipeline, sampler),
        **length_arguments(pipeline, accepted),
        **guidance_arguments(pipeline, sampler.guidance, len(seeds)),
        **progress_arguments(accepted, sampler.steps, progress),
    }
    known = {name: value for name, value in arguments.items() if name in accepted}
    with float32_noise(pipeline), vae_dtype(pipeline), autocast(denoiser_of(pipeline), sampler.precision):
        output = pipeline(**inputs, generator=generators, **known)
    return to_uint8(np.stack(list(output.images)))


def to_uint8(images: np.ndarray) -> list[Image]:
    """Convert ``(n, height, width, 3)`` images from the range 0 to 1.

    They have the memory layout of decoded PNG files: the last bits of sums over pixels depend on it.
    """
    return list((images * 255).round().astype(np.uint8, order="C"))


def size_arguments(pipeline: Any, sampler: Sampler) -> dict[str, int]:
    """Return height and width: the sampler's, else those that the denoiser was trained on, else the pipeline's default."""
    size = sampler.size or native_size(pipeline)
    return {"height": size[0], "width": size[1]} if size else {}


def length_arguments(pipeline: Any, accepted: Mapping[str, inspect.Parameter]) -> dict[str, int]:
    """Return the length that prompts are padded to: the family's own, or what the last tokenizer takes if that is less."""
    names = (name for name in ("tokenizer_3", "tokenizer_2", "tokenizer") if hasattr(pipeline, name))
    tokenizer, own = getattr(pipeline, next(names, "tokenizer"), None), accepted.get("max_sequence_length")
    if own is None or tokenizer is None:
        return {}
    return {"max_sequence_length": min(own.default, tokenizer.model_max_length)}


def progress_arguments(
    accepted: Mapping[str, inspect.Parameter], steps: int, progress: ProgressCallback
) -> dict[str, Any]:
    """Return the callback that reports each step, in the form that the pipeline has."""

    def on_step_end(_: Any, step: int, __: Any, state: dict[str, Any]) -> dict[str, Any]:
        progress(min(1.0, (step + 1) / steps))
        return state

    def on_step(step: int, _: Any, __: Any) -> None:
        progress(min(1.0, (step + 1) / steps))

    return {"callback_on_step_end": on_step_end} if "callback_on_step_end" in accepted else {"callback": on_step}


@contextmanager
def float32_noise(pipeline: Any) -> Iterator[None]:
    """Draw initial latents on the CPU in float32, then move and cast them.

    So a seed gives the same noise on every device and in every precision. diffusers draws in the precision of the embeddings.
    """
    prepare = pipeline.prepare_latents
    signature = inspect.signature(prepare)

    def prepare_latents(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        device, dtype = bound.arguments["device"], bound.arguments["dtype"]
        bound.arguments |= {"device": torch.device("cpu"), "dtype": torch.float32}
        return tree_map(lambda value: move(value, device, dtype), prepare(*bound.args, **bound.kwargs))

    with override_attribute(pipeline, "prepare_latents", prepare_latents):
        yield


def move(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a floating-point tensor on a device and in a dtype, another one on the device, and other values as they are."""
    if not isinstance(value, Tensor):
        return value
    return value.to(device, dtype if value.is_floating_point() else value.dtype)


@contextmanager
def vae_dtype(pipeline: Any) -> Iterator[None]:
    """Decode latents in the precision of the VAE, which may be higher than the denoiser's."""
    vae, decode = pipeline.vae, pipeline.vae.decode

    def decode_cast(latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        with without_autocast(vae) if needs_float32_vae(pipeline) else nullcontext():
            return decode(latents.to(vae.dtype), *args, **kwargs)

    with override_attribute(vae, "decode", decode_cast):
        yield
