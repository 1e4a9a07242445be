"""Put edited tensors into a pipeline, take them off again, or share all others between two pipelines."""

from collections import ChainMap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from editor.checkpoints.key_mapping import CANONICAL_PREFIX
from editor.checkpoints.tensor_update import EditedTensor


def apply_updates(pipeline: Any, updates: Sequence[EditedTensor]) -> None:
    """Overwrite the pipeline's tensors with the edited ones, in its precision."""
    for update in updates:
        with torch.no_grad():
            find_tensor(pipeline, update).copy_(update.edited)


@contextmanager
def edited_weights(pipeline: Any, updates: Sequence[EditedTensor]) -> Iterator[None]:
    """Generate with the edited tensors inside of the context. The original ones are restored bit by bit."""
    originals = [find_tensor(pipeline, update).clone() for update in updates]
    apply_updates(pipeline, updates)
    try:
        yield
    finally:
        with torch.no_grad():
            for update, original in zip(updates, originals, strict=True):
                find_tensor(pipeline, update).copy_(original)


def find_tensor(pipeline: Any, update: EditedTensor) -> Tensor:
    """Return the pipeline's tensor that an update belongs to, on whichever device it is now."""
    module, name = find_parameter(getattr(pipeline, update.component), update.name)
    parameter: Tensor = getattr(module, name)
    if parameter.is_meta:  # the weights of a module that is offloaded are in its hook until it runs
        offloaded: Tensor = module._hf_hook.weights_map[name]  # type: ignore[union-attr,index]
        return offloaded
    return parameter.data


def find_parameter(component: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return the module that has a parameter, and the parameter's name in it.

    The canonical names of CLIP's tensors start with ``text_model.``, which some classes omit. Other names are the
    component's own.
    """
    known = dict(component.named_parameters())
    full = name if name in known else name.removeprefix(CANONICAL_PREFIX)
    path, _, leaf = full.rpartition(".")
    return component.get_submodule(path), leaf


def copy_with_updates(pipeline: Any, updates: Sequence[EditedTensor]) -> Any:
    """Return a pipeline with the edited tensors, which shares everything else with the original one."""
    edited = copy(pipeline)
    for name in dict.fromkeys(update.component for update in updates):
        setattr(edited, name, copy_sharing_tensors(getattr(pipeline, name)))
    for update in updates:
        module, name = find_parameter(getattr(edited, update.component), update.name)
        replace_parameter(module, name, update.edited)
    return edited


def copy_sharing_tensors(module: nn.Module) -> nn.Module:
    """Return a copy of a module and its submodules whose parameters and buffers are those of the original."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())}
    hooks = (getattr(part, "_hf_hook", None) for part in module.modules())
    shared |= {id(hook): hook for hook in hooks if hook is not None}
    return deepcopy(module, shared)


def replace_parameter(module: nn.Module, name: str, values: Tensor) -> None:
    """Give a module its own parameter with other values, on the device and in the dtype of the one it has."""
    original = getattr(module, name)
    if original.is_meta:
        hook: Any = copy(module._hf_hook)
        hook.weights_map = ChainMap({name: values.to(hook.weights_map[name].dtype)}, hook.weights_map)
        module._hf_hook = hook
    else:
        setattr(module, name, nn.Parameter(values.to(original), original.requires_grad))
