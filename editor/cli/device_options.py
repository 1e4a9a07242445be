"""The options that say where models run, which commands that run models share."""

from typing import Annotated

import typer

from editor.generation.device import DeviceSettings, PrecisionSetting

DeviceName = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]|mps",
        help="The device that models run on; default: EXPUNGE_DEVICE, else the fastest.",
    ),
]
PrecisionName = Annotated[
    PrecisionSetting | None,
    typer.Option("--precision", help="Precision of matrix products; default: EXPUNGE_PRECISION, else the fastest."),
]


def read_device(device: DeviceName = None, precision: PrecisionName = None) -> DeviceSettings:
    """Return the settings of the environment, overridden by the options. Raises DeviceError."""
    return DeviceSettings.from_environment().override(device=device, precision=precision)
