"""`expunge features record`: record activations for a folder of images, to train an autoencoder on."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from api_schemas.cli.common_options import Components, JsonOutput, inject_options
from api_schemas.errors import UsageError
from editor.cli.device_options import read_device
from editor.generation.device import DeviceSettings

if TYPE_CHECKING:
    from editor.features.activations.recorder import ActivationSource

ENCODE_BATCH = 16
"""Images encoded at once."""


@inject_options("device", read_device)
def record(
    device: DeviceSettings,
    pictures: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="A folder of images; subfolder names become labels.")
    ],
    out: Annotated[Path, typer.Argument(help="Output folder; an interrupted recording in it is resumed.")],
    module: Annotated[
        list[str] | None, typer.Option(help="A module of the UNet or transformer; default: mid_block. Repeatable.")
    ] = None,
    timestep: Annotated[
        list[int] | None,
        typer.Option(min=0, max=999, help="The timestep that images are noised to; default: 25. Repeatable."),
    ] = None,
    model_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            exists=True,
            help="A diffusers folder or single-file checkpoint; default: the embedded model.",
        ),
    ] = None,
    components: Components = None,
    clip: Annotated[
        Path | None,
        typer.Option(metavar="DIR", exists=True, help="Record image embeddings of this CLIP model instead."),
    ] = None,
    pooling: Annotated[
        Literal["patch", "mean", "max"], typer.Option(help="patch: a row per position; mean or max: a row per image.")
    ] = "patch",
    size: Annotated[int | None, typer.Option(min=8, help="Image size in pixels; default: the model's own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    json_output: JsonOutput = False,
) -> None:
    """Record a model's activations for a folder of images, for `expunge features train`."""
    from editor.features.activations.recorder import record, store_folder
    from editor.features.image_folder import folder_labels, list_images

    files = list_images(pictures)
    pipeline = None if clip else open_generator(model_dir, components, device)
    source = embedding_source(clip, files) if clip else noised_source(pipeline, files, module, timestep, size, seed)
    stores = record(out, source, folder_labels(pictures, files), "mean" if clip else pooling)
    rows = [
        {"folder": str(store_folder(out, key)), "rows": len(store.rows()), "width": store.manifest.channels}
        for key, store in stores.items()
    ]
    lines = [f"{row['folder']}  {row['rows']} x {row['width']}" for row in rows]
    typer.echo(json.dumps({"recordings": rows}) if json_output else "\n".join(lines))


def embedding_source(clip: Path, files: list[Path]) -> "ActivationSource":
    """Return image embeddings as a source of activations."""
    from editor.features.activations.encoder_source import ImageEmbeddings
    from editor.features.clip.image_encoder import open_image_encoder
    from editor.features.image_folder import read_square_images

    encoder = open_image_encoder(clip)
    pixels = read_square_images(files, encoder.image_size)
    return ImageEmbeddings(
        encoder.embed_images, encoder.clip, list((pixels * 255).round().byte().permute(0, 2, 3, 1).numpy())
    )


def noised_source(
    pipeline: Any,
    files: list[Path],
    modules: list[str] | None,
    timesteps: list[int] | None,
    size: int | None,
    seed: int,
) -> "ActivationSource":
    """Return images noised to timesteps, under the empty prompt, as a source of activations."""

    from editor.features.activations.noised_source import NoisedImages, encode_pixels
    from editor.features.image_folder import read_square_images

    pixels = read_square_images(files, size or image_size(pipeline)) * 2 - 1
    latents = encode_pixels(pipeline, pixels, ENCODE_BATCH)
    return NoisedImages(pipeline, latents, modules or ["mid_block"], timesteps or [25], seed)


def open_generator(model: Path | None, components: Path | None, settings: DeviceSettings) -> Any:
    """Load the embedded model or a pipeline onto a device, in float32 unless the settings ask for another precision."""
    from editor import emoji
    from editor.generation.pipelines import load_pipeline
    from editor.generation.placement import place_pipeline

    device = (settings.override(precision="float32") if settings.precision == "auto" else settings).resolve()
    pipeline = load_pipeline(model or emoji.WEIGHTS, components=components, dtype=device.dtype)
    return place_pipeline(pipeline, device)


def image_size(pipeline: Any) -> int:
    """Return the side of the images that a model was trained on, in pixels. Raises UsageError if it is not known."""
    from editor.generation.pipelines import family_defaults

    size = family_defaults(pipeline).size
    if size is None:
        raise UsageError("The model does not state the size of its images.", field="size", remedy="Pass --size.")
    return size[0]


def register(features: typer.Typer) -> None:
    """Add the command to `expunge features`."""
    features.command()(record)
