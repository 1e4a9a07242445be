"""Where models run: device, precision and memory, as settings and resolved for this machine."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from editor.errors import DeviceError
from editor.io.memory_size import parse_memory

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16", "float16"]
"""Precision of matrix products."""
PrecisionSetting = Literal["auto", "float32", "bfloat16", "float16"]
Offload = Literal["none", "model", "sequential"]
"""Which weights wait in the CPU's memory: none; all but the running component; all but the running module."""
PREFIX = "EXPUNGE_"
MIN_BFLOAT16_CAPABILITY = (8, 0)
"""CUDA compute capability from which GPUs multiply bfloat16 natively (Ampere)."""


@dataclass(frozen=True)
class DeviceSettings:
    """Where models run, as an operator sets it. ``resolve`` finds out what this machine has."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    precision: PrecisionSetting = "auto"
    offload: Offload = "none"
    vae_tiling: bool = False
    """Decode large images tile by tile."""
    memory: int | None = None
    """Ceiling for the memory of activations in bytes; None: what the device has."""
    warm_memory: int | None = None
    """Weights that may stay in memory between jobs on one base model, in bytes; None: half of the memory they are in."""
    compile: bool = False
    """Compile the denoiser with ``torch.compile``: slow to start, faster over hundreds of images."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "DeviceSettings":
        """Read ``EXPUNGE_DEVICE``, ``EXPUNGE_PRECISION``, ``EXPUNGE_OFFLOAD`` and so on; unset ones keep their defaults.

        Raises:
            DeviceError: a variable has a value that the setting does not accept.
        """
        given = os.environ if environment is None else environment
        texts = {field.name: given.get(PREFIX + field.name.upper(), "") for field in fields(cls)}
        return cls(**{name: PARSERS[name](name, text) for name, text in texts.items() if text})

    def override(self, **options: Any) -> "DeviceSettings":
        """Return the settings with the options that are not None in their place. Raises DeviceError."""
        given = {name: PARSERS[name](name, value) for name, value in options.items() if value is not None}
        return replace(self, **given)

    def resolve(self) -> "ComputeDevice":
        """Return the device and the precision for this machine.

        Raises:
            DeviceError: the machine has no such device, or the device does not support the precision.
        """
        import torch

        found = torch.device(find_device() if self.device == "auto" else self.device)
        check_available(found)
        precision = find_precision(found) if self.precision == "auto" else self.precision
        if found.type == "cpu" and precision == "float16":
            raise DeviceError(
                "float16 is not supported on the CPU, which computes it in software.",
                field="precision",
                remedy="Use bfloat16, float32 or auto.",
            )
        return ComputeDevice(found, precision, self)


@dataclass(frozen=True)
class ComputeDevice:
    """A device of this machine, and the precision to compute in."""

    torch_device: "torch.device"
    precision: Precision
    settings: DeviceSettings = field(default_factory=DeviceSettings)

    @property
    def dtype(self) -> "torch.dtype":
        """The dtype of weights. On a CPU they stay in float32, and matrix products are cast."""
        import torch

        precision = "float32" if self.torch_device.type == "cpu" else self.precision
        dtype: torch.dtype = getattr(torch, precision)
        return dtype


def find_device() -> str:
    """Return the fastest kind of device that this machine has."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_available(device: "torch.device") -> None:
    """Check that this machine has a device.

    Raises:
        DeviceError: it has not.
    """
    import torch

    if device.type == "cpu":
        return
    module: Any = torch.get_device_module(device.type)
    count = module.device_count() if module.is_available() else 0
    if (device.index or 0) >= count:
        raise DeviceError(
            f"This machine has no device {device}: torch finds {count} of type {device.type}.",
            field="device",
            remedy="Use auto or cpu, or install a torch that supports the device.",
        )


def find_precision(device: "torch.device") -> Precision:
    """Return bfloat16 if the device multiplies it natively; else float32 on a CPU and float16 on a GPU."""
    import torch

    if device.type == "cpu":
        return native_precision()
    if device.type == "cuda":
        native = torch.version.hip is not None or torch.cuda.get_device_capability(device) >= MIN_BFLOAT16_CAPABILITY
    else:
        native = device.type != "mps" or torch.backends.mps.is_macos_or_newer(14, 0)
    return "bfloat16" if native else "float16"


def native_precision() -> Precision:
    """Return bfloat16 if the CPU multiplies it natively, which nearly halves the time per image; else float32."""
    import torch

    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


def parse_device(name: str, text: str) -> str:
    """Return the name of a device. Raises DeviceError if it is none."""
    kind, _, index = text.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (":" in text and (kind != "cuda" or not index.isdecimal())):
        raise wrong_setting(name, text, "auto, cpu, cuda, cuda:N or mps")
    return text


def parse_choice(choices: Any) -> Callable[[str, str], str]:
    """Return a parser that accepts the values of a Literal type."""

    def parse(name: str, text: str) -> str:
        if text not in get_args(choices):
            raise wrong_setting(name, text, ", ".join(get_args(choices)))
        return text

    return parse


def parse_switch(name: str, text: str) -> bool:
    """Return whether a setting is on. Raises DeviceError if it is neither on nor off."""
    switches = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in switches:
        raise wrong_setting(name, text, "true or false")
    return switches[text.lower()]


def parse_memory_ceiling(name: str, text: str) -> int:
    """Return an amount of memory, such as ``8GB``, in bytes. Raises UsageError."""
    return parse_memory(text, name)


def parse_warm_memory(name: str, text: str) -> int:
    """Return an amount of memory in bytes, which may be 0. Raises UsageError."""
    return 0 if text.strip() == "0" else parse_memory(text, name)


def wrong_setting(name: str, text: str, choices: str) -> DeviceError:
    """Return the error for a value that a setting does not accept."""
    return DeviceError(f"{text!r} is not a value of the setting {name}.", field=name, remedy=f"Choose from {choices}.")


PARSERS: dict[str, Callable[[str, str], Any]] = {
    "device": parse_device,
    "precision": parse_choice(PrecisionSetting),
    "offload": parse_choice(Offload),
    "vae_tiling": parse_switch,
    "memory": parse_memory_ceiling,
    "warm_memory": parse_warm_memory,
    "compile": parse_switch,
}
