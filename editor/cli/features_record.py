"""`expunge features record`: what a model makes of a folder of pictures, as rows that an autoencoder is trained on."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from api_schemas.cli.options import JsonOutput

if TYPE_CHECKING:
    from editor.features.activations.recorder import ActivationSource

BATCH = 16
"""Pictures that are encoded at once."""


def record(
    pictures: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="A folder; sub-folders label what lies in them.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder to record into; what was stopped goes on from there.")],
    module: Annotated[
        list[str] | None, typer.Option(help="Of the UNet or transformer; default: mid_block. Repeatable.")
    ] = None,
    timestep: Annotated[
        list[int] | None,
        typer.Option(min=0, max=999, help="The noise that pictures are shown with; default: 25. Repeatable."),
    ] = None,
    model_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", exists=True, help="A pipeline in diffusers' layout; default: the embedded model."),
    ] = None,
    clip: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", exists=True, help="Image embeddings of this CLIP, in place of a generator's modules."
        ),
    ] = None,
    pooling: Annotated[
        Literal["patch", "mean", "max"], typer.Option(help="Every position is a row, or a picture.")
    ] = "patch",
    size: Annotated[int | None, typer.Option(min=8, help="Pixels of a side; default: the model's own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    json_output: JsonOutput = False,
) -> None:
    """Show a folder of pictures to a model and keep what its modules put out, for `expunge features train`."""
    from editor.features.activations.recorder import record, store_folder
    from editor.features.image_folder import folder_labels, list_images

    files = list_images(pictures)
    source = embedded(clip, files) if clip else noised(model_dir, files, module, timestep, size, seed)
    stores = record(out, source, folder_labels(pictures, files), "mean" if clip else pooling)
    rows = [
        {"folder": str(store_folder(out, key)), "rows": len(store.rows()), "width": store.manifest.channels}
        for key, store in stores.items()
    ]
    lines = [f"{row['folder']}  {row['rows']} x {row['width']}" for row in rows]
    typer.echo(json.dumps({"recordings": rows}) if json_output else "\n".join(lines))


def embedded(clip: Path, files: list[Path]) -> "ActivationSource":
    """Embeddings of pictures."""
    from editor.features.activations.encoder_source import ImageEmbeddings
    from editor.features.clip.image_encoder import open_image_encoder
    from editor.features.image_folder import read_square_images

    encoder = open_image_encoder(clip)
    pixels = read_square_images(files, encoder.image_size)
    return ImageEmbeddings(
        encoder.embed_images, encoder.clip, list((pixels * 255).round().byte().permute(0, 2, 3, 1).numpy())
    )


def noised(
    model: Path | None,
    files: list[Path],
    modules: list[str] | None,
    timesteps: list[int] | None,
    size: int | None,
    seed: int,
) -> "ActivationSource":
    """Pictures noised to timesteps, under the empty prompt."""
    from editor.features.activations.noised_source import NoisedImages, encode_pixels
    from editor.features.image_folder import read_square_images

    pipeline = generator(model)
    pixels = read_square_images(files, size or side(pipeline)) * 2 - 1
    latents = encode_pixels(pipeline, pixels, BATCH)
    return NoisedImages(pipeline, latents, modules or ["mid_block"], timesteps or [25], seed)


def generator(model: Path | None) -> Any:
    """The embedded model, or any pipeline."""
    from editor import emoji
    from editor.features.clip.workspace import open_pipeline
    from editor.generation.sampling import load_pipeline

    return load_pipeline(emoji.WEIGHTS) if model is None else open_pipeline(model, None)


def side(pipeline: Any) -> int:
    """Pixels that the model was trained on."""
    from editor.features.activations.hooks import backbone_of

    backbone: Any = backbone_of(pipeline)
    return int(backbone.config.sample_size * pipeline.vae_scale_factor)


def register(features: typer.Typer) -> None:
    """Add the command to `expunge features`."""
    features.command()(record)
