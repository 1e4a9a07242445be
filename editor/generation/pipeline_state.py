"""The state of a pipeline: two pipelines with equal states generate the same images.

Sums over the bits of every tensor detect changed weights at the speed of memory, on the device where the weights are. They are
not cryptographic: they detect what an edit or a training step left behind, not a forgery.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from editor.generation.module_device import modules_of
from editor.io.digests import sha256_hex

LIBRARIES = ("accelerate", "diffusers", "transformers", "torch")
WORD_BYTES, ROW_WORDS = 8, 1024
FACTOR = 0x9E3779B1
"""The sums are weighted by multiples of this, plus one."""


def pipeline_state(pipeline: Any) -> str:
    """Return a digest of everything that images depend on: modules, hooks, tensors, tokenizers and the scheduler's settings."""
    parts = pipeline.components.items()
    others = [
        (
            name,
            type(part).__qualname__,
            repr(getattr(part, "config", None)),
            len(getattr(part, "added_tokens_encoder", ())),
        )
        for name, part in parts
        if not isinstance(part, nn.Module)
    ]
    modules = [(name, list(module_states(part))) for name, part in parts if isinstance(part, nn.Module)]
    return sha256_hex(repr((type(pipeline).__qualname__, overrides(pipeline), others, modules)))


def module_states(root: nn.Module) -> Iterator[tuple[Any, ...]]:
    """Yield the state of a module and of each of its submodules."""
    for name, module in root.named_modules():
        hooks = list(map(count_own_hooks, (module._forward_hooks, module._forward_pre_hooks)))
        processor = type(getattr(module, "processor", None)).__qualname__
        tensors = chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False))
        sums = [(leaf, tensor_state(stored_tensor(module, leaf))) for leaf, _ in tensors]
        yield name, type(module).__qualname__, module.training, hooks, processor, overrides(module), sums


def count_own_hooks(hooks: Mapping[int, Any]) -> int:
    """Return the number of hooks that are not from a library. transformers adds some at a module's first run."""
    homes = [str(getattr(hook, "__module__", "")).partition(".")[0] for hook in hooks.values()]
    return sum(home not in LIBRARIES for home in homes)


def overrides(thing: Any) -> list[str]:
    """Return the attributes of an object that replace those of its class, such as a method that was wrapped."""
    return sorted(name for name in vars(thing) if name != "training" and hasattr(type(thing), name))


def stored_tensor(module: nn.Module, name: str) -> Tensor:
    """Return a parameter or buffer, on whichever device it is now."""
    tensor: Tensor = getattr(module, name)
    if tensor.is_meta:  # the weights of a module that is offloaded are in its hook until it runs
        offloaded: Tensor = module._hf_hook.weights_map[name]  # type: ignore[union-attr,index]
        return offloaded
    return tensor.detach()


def tensor_state(tensor: Tensor) -> tuple[Any, ...]:
    """Return dtype, shape and a sum over the bits of a tensor."""
    return str(tensor.dtype), tuple(tensor.shape), bit_sum(tensor)


def bit_sum(tensor: Tensor) -> int:
    """Return a sum over a tensor's memory in words of 64 bits, modulo 2^64, to which each word counts by its place.

    The words form a table of which the rows and the columns are summed, so that exchanged words are detected too.
    """
    data = memory_of(tensor)
    whole = len(data) // WORD_BYTES * WORD_BYTES
    words = data[:whole].view(torch.int64)
    cells = len(words) // ROW_WORDS * ROW_WORDS
    table = words[:cells].view(-1, ROW_WORDS)
    sums = torch.cat([table.sum(1), table.sum(0), words[cells:], data[whole:].long()])
    return int((sums * (torch.arange(len(sums), device=sums.device) * FACTOR + 1)).sum())


def memory_of(tensor: Tensor) -> Tensor:
    """Return the bytes of a tensor in the order of its memory, without a copy where that is possible."""
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)  # such as NHWC of a channels-last tensor
    flat = tensor.permute(order).reshape(-1).view(torch.uint8)
    return flat if flat.storage_offset() % WORD_BYTES == 0 else flat.clone()


def size_in_bytes(pipeline: Any) -> int:
    """Return the size of a pipeline's weights."""
    return sum(
        stored_tensor(module, leaf).nbytes
        for part in modules_of(pipeline)
        for module in part.modules()
        for leaf, _ in chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False))
    )
