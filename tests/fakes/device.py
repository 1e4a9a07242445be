"""A device for tests that is not the CPU: it computes on the CPU, and refuses what a GPU refuses.

An operation on tensors of both devices fails, as does a conversion to numpy, so code that makes a tensor on the wrong device
fails without a GPU. As on a GPU, tensors without dimensions may be on the CPU, and so may indices.
"""

from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

DEVICE = "testdevice"
COPIES = ("aten::copy_", "aten::_to_copy")
"""Operations whose tensors may be on both devices."""
INDEXED = ("aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_")
"""Operations whose indices may be on the CPU."""


class DeviceTensor(Tensor):
    """A tensor on the test device, whose values are in a tensor on the CPU."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor, requires_grad: bool | None = None) -> "DeviceTensor":
        """Wrap a tensor on the CPU; or make a parameter of any tensor, if called as accelerate calls a parameter's class."""
        if requires_grad is not None:
            return nn.Parameter(values, requires_grad)  # type: ignore[return-value]
        wrapper = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=torch.device(DEVICE, 0),
        )
        wrapper.values = values
        return wrapper  # type: ignore[no-any-return]

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def set_data(self, other: Any) -> None:
        torch.Tensor.data.__set__(self, other)  # type: ignore[attr-defined]
        self.values = other.values

    data = property(torch.Tensor.data.__get__, set_data)  # type: ignore[attr-defined,assignment]
    """Modules assign it when they are converted to another dtype."""

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"DeviceTensor({self.values!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run_on_device(func, args, kwargs or {})


def run_on_device(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the values, and return tensors on the device that it asks for, else on the test device."""
    check_devices(func, args, kwargs)
    target = torch.device(kwargs.get("device") or DEVICE)
    owners = {id(leaf.values): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, DeviceTensor)}
    known = {id(leaf): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)} | owners

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return known.get(id(value)) if id(value) in known else DeviceTensor(value) if target.type == DEVICE else value

    return tree_map(wrap, func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs)))


def unwrap(value: Any) -> Any:
    if isinstance(value, DeviceTensor):
        return value.values
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == DEVICE else value


def check_devices(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Raise RuntimeError if tensors of both devices meet, or a generator of the CPU fills a tensor of the device."""
    name = func._schema.name
    checked = args[:1] + args[2:] if name in INDEXED else args
    tensors = [leaf for leaf in tree_leaves((checked, kwargs)) if isinstance(leaf, Tensor)]
    on_cpu = [leaf for leaf in tensors if not isinstance(leaf, DeviceTensor) and leaf.dim() > 0]
    if name not in COPIES and on_cpu and len(on_cpu) < len(tensors):
        raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got one on the CPU.")
    if any(isinstance(leaf, torch.Generator) for leaf in tree_leaves((args, kwargs))):
        raise RuntimeError(f"Expected a generator of {DEVICE}, but {name} got one of the CPU.")


@cache
def register_device() -> torch.device:
    """Register the device, once in a process, and return it."""
    _setup_privateuseone_for_python_backend(DEVICE)
    backend: Any = torch.get_device_module(DEVICE)
    backend.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
    everything, aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    everything.fallback(lambda func, *args, **kwargs: run_on_device(func, args, kwargs), "PrivateUse1")
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")  # autocast casts nothing
    for name, func in CALLED_BY_CONSTRUCTORS.items():
        aten.impl(name, partial(lambda func, *args, **kwargs: run_on_device(func, args, kwargs), func), "PrivateUse1")
    REGISTRATIONS.extend([everything, aten])
    return torch.device(DEVICE, 0)


CALLED_BY_CONSTRUCTORS = {"copy_": torch.ops.aten.copy_.default}
"""Operations that ``torch.tensor`` calls in a way that skips ``__torch_dispatch__`` and the fallback."""
REGISTRATIONS: list[Any] = []
"""They last as long as the objects."""

register_device()  # when tests are collected: the first backward pass of a process fixes the number of its devices
