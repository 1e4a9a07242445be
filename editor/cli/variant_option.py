"""The option that names the variant of a model's weights. Everything that opens the model reads it from the environment."""

import os
from typing import Annotated

import typer

from api_schemas.model_files import VARIANT_SETTING


def choose_variant(variant: str | None) -> str | None:
    """Set the variant for this process."""
    if variant:
        os.environ[VARIANT_SETTING] = variant
    return variant


Variant = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar=VARIANT_SETTING,
        callback=choose_variant,
        help="The variant of the weights to read and edit, such as fp16, if the folder has several.",
    ),
]
