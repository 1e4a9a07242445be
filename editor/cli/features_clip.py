"""`expunge features group|icon|steer`: a picture's features in groups, what they look like, and more or less of them."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from api_schemas.cli.options import JsonOutput, takes

Picture = Annotated[Path, typer.Argument(metavar="PICTURE", exists=True, dir_okay=False)]
Sheet = Annotated[Path, typer.Option("--out", metavar="FILE", help="The picture or sheet to write, a PNG.")]
Threshold = Annotated[
    float, typer.Option(min=0.001, max=1, help="The least share of the activation that a group may hold.")
]
Strengths = Annotated[str, typer.Option(metavar="FACTOR,...", help="Of the own activation, from left to right.")]
STRENGTHS = "0,0.5,1,1.5,2"


def studio_from_options(
    clip: Annotated[
        Path | None, typer.Option(metavar="DIR", exists=True, help="A CLIP in transformers' layout.")
    ] = None,
    sae: Annotated[
        Path | None, typer.Option(metavar="DIR", exists=True, help="An autoencoder of its image embeddings.")
    ] = None,
    model_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", exists=True, help="Stable Diffusion, XL or Kandinsky 2.2's decoder.")
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="An IP-Adapter, safetensors, for Stable Diffusion."
        ),
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="Texts that a group may be named by, one a line."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=150, help="Sampler steps.")] = 20,
    guidance: Annotated[float, typer.Option(min=1, max=20)] = 2.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> Any:
    """What is looked at; by default the embedded model and its judge."""
    from editor.features.clip.workspace import SessionPaths

    return SessionPaths(clip, sae, model_dir, adapter, words).open(steps, guidance, seed)


@takes("studio", studio_from_options)
def group(
    picture: Picture,
    studio: Any,
    threshold: Threshold = 0.05,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="A sheet of the groups' icons.")] = None,
    json_output: JsonOutput = False,
) -> None:
    """Take a picture apart into groups of features, heaviest first; --out draws each."""
    found = studio.group_image(picture, threshold, studio.renderer.seed)
    rows = described(studio, found)
    if out is not None:
        labels = [f"{row['group']} {row['nearest']}" for row in rows]
        write(out, [strip(studio, label, found.group_vector(n), STRENGTHS) for n, label in enumerate(labels)])
    tell(rows, json_output)


@takes("studio", studio_from_options)
def icon(
    features: Annotated[list[int], typer.Argument(metavar="LATENT...", min=0)],
    studio: Any,
    out: Sheet,
    activation: Annotated[float, typer.Option(min=0, help="What strength 1 means.")] = 10.0,
    strengths: Strengths = STRENGTHS,
) -> None:
    """Draw what single features look like, in growing strength."""
    from editor.features.clip.steering import latent_vector

    latents = studio.sae.latents
    if max(features) >= latents:
        raise typer.BadParameter(f"the autoencoder has {latents} latents, from 0 on", param_hint="LATENT")
    vectors = [latent_vector(studio.sae, latent, latents, activation) for latent in features]
    rows = zip(features, vectors, strict=True)
    write(out, [strip(studio, f"feature {latent}", vector, strengths) for latent, vector in rows])


@takes("studio", studio_from_options)
def steer(
    picture: Picture,
    studio: Any,
    out: Sheet,
    scale: Annotated[list[str], typer.Option(metavar="GROUP=FACTOR", help="As in 2=1.5; 0 takes it out. Repeatable.")],
    threshold: Threshold = 0.05,
    json_output: JsonOutput = False,
) -> None:
    """Draw a picture with some of its groups scaled. Groups are numbered as `group` numbers them."""
    import torch

    from editor.features.clip.image_grids import ImageStrip
    from editor.features.clip.workspace import parse_scales
    from editor.features.image_folder import read_image

    found = studio.group_image(picture, threshold, studio.renderer.seed)
    steered = found.steer(parse_scales(scale, len(found.grouping)))
    images = [read_image(picture), *studio.renderer.render(torch.stack([found.decomposition.embedding, steered]))]
    write(out, [ImageStrip("", images, ("picture", "drawn again", "steered"))])
    tell(described(studio, found), json_output)


def strip(studio: Any, label: str, vector: Any, factors: str) -> Any:
    """One feature or group, drawn on nothing in particular."""
    from editor.features.clip.image_grids import ImageStrip
    from editor.features.clip.workspace import parse_strengths

    each = parse_strengths(factors)
    return ImageStrip(
        label, studio.renderer.render_icon(vector, studio.base_embedding, each), [f"{factor:g}" for factor in each]
    )


def write(out: Path, strips: list[Any]) -> None:
    """A sheet."""
    from editor.features.clip.image_grids import render_strips
    from editor.io.atomic import write_bytes

    write_bytes(out, render_strips(strips))
    typer.echo(out, err=True)


def described(studio: Any, found: Any) -> list[dict[str, Any]]:
    """The groups, heaviest first: what they hold, and the text that points most as they do."""
    from editor.features.clip.direction_labels import nearest_text

    return [
        {
            "group": number + 1,
            "mass": round(mass, 4),
            "features": found.decomposition.latents[list(members)].tolist(),
            "nearest": nearest_text(found.group_vector(number), studio.texts),
        }
        for number, (members, mass) in enumerate(zip(found.grouping.members, found.grouping.masses, strict=True))
    ]


def tell(rows: list[dict[str, Any]], json_output: bool) -> None:
    """The groups, a line each."""
    if json_output:
        typer.echo(json.dumps({"groups": rows}))
        return
    for row in rows:
        typer.echo("{group:<3} {mass:>6.1%}  {nearest:<20} features {features}".format(**row))


def register(features: typer.Typer) -> None:
    """Add the commands to `expunge features`."""
    for command in (group, icon, steer):
        features.command()(command)
