"""`expunge features group|icon|steer`: group the CLIP features of an image, depict them, and scale them."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from api_schemas.cli.common_options import JsonOutput, inject_options
from editor.cli.device_options import DeviceName, PrecisionName, read_device

Picture = Annotated[Path, typer.Argument(metavar="PICTURE", exists=True, dir_okay=False)]
Sheet = Annotated[Path, typer.Option("--out", metavar="FILE", help="The PNG to write.")]
Threshold = Annotated[
    float, typer.Option(min=0.001, max=1, help="Smallest share of the total activation that a group may have.")
]
Strengths = Annotated[str, typer.Option(metavar="FACTOR,...", help="Multiples of the activation, from left to right.")]
STRENGTHS = "0,0.5,1,1.5,2"


def open_session(
    clip: Annotated[Path | None, typer.Option(metavar="DIR", exists=True, help="A CLIPModel folder.")] = None,
    sae: Annotated[
        Path | None, typer.Option(metavar="DIR", exists=True, help="A sparse autoencoder of its image embeddings.")
    ] = None,
    model_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", exists=True, help="Stable Diffusion, SDXL or the Kandinsky 2.2 decoder."),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="An IP-Adapter for Stable Diffusion, in safetensors."
        ),
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Texts to label groups with, one per line."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=150, help="Sampler steps.")] = 20,
    guidance: Annotated[float, typer.Option(min=1, max=20, help="Classifier-free guidance.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the images.")] = 0,
    device: DeviceName = None,
    precision: PrecisionName = None,
) -> Any:
    """Open the CLIP model, autoencoder and pipeline; by default the embedded ones."""
    from editor.features.clip.workspace import SessionPaths

    return SessionPaths(clip, sae, model_dir, adapter, words).open(
        steps, guidance, seed, read_device(device, precision)
    )


@inject_options("session", open_session)
def group(
    picture: Picture,
    session: Any,
    threshold: Threshold = 0.05,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write a sheet with an icon for each group.")
    ] = None,
    json_output: JsonOutput = False,
) -> None:
    """Decompose an image into groups of CLIP features, largest first; --out depicts each group."""
    found = session.group_image(picture, threshold, session.renderer.seed)
    rows = group_records(session, found)
    if out is not None:
        labels = [f"{row['group']} {row['nearest']}" for row in rows]
        write_sheet(
            out, [icon_strip(session, label, found.group_vector(n), STRENGTHS) for n, label in enumerate(labels)]
        )
    print_groups(rows, json_output)


@inject_options("session", open_session)
def icon(
    features: Annotated[list[int], typer.Argument(metavar="LATENT...", min=0)],
    session: Any,
    out: Sheet,
    activation: Annotated[float, typer.Option(min=0, help="Activation at strength 1.")] = 10.0,
    strengths: Strengths = STRENGTHS,
) -> None:
    """Generate icons of single features at increasing strength."""
    from editor.features.clip.steering import latent_vector

    latents = session.sae.latents
    if max(features) >= latents:
        raise typer.BadParameter(f"the autoencoder has {latents} latents, from 0 on", param_hint="LATENT")
    vectors = [latent_vector(session.sae, latent, latents, activation) for latent in features]
    rows = zip(features, vectors, strict=True)
    write_sheet(out, [icon_strip(session, f"feature {latent}", vector, strengths) for latent, vector in rows])


@inject_options("session", open_session)
def steer(
    picture: Picture,
    session: Any,
    out: Sheet,
    scale: Annotated[
        list[str], typer.Option(metavar="GROUP=FACTOR", help="Scale a group, such as 2=1.5; 0 removes it. Repeatable.")
    ],
    threshold: Threshold = 0.05,
    json_output: JsonOutput = False,
) -> None:
    """Generate an image again with some of its feature groups scaled, numbered as by `group`."""
    import torch

    from editor.features.clip.image_grids import ImageStrip
    from editor.features.clip.workspace import parse_scales
    from editor.features.image_folder import read_image

    found = session.group_image(picture, threshold, session.renderer.seed)
    steered = found.steer(parse_scales(scale, len(found.grouping)))
    images = [read_image(picture), *session.renderer.render(torch.stack([found.decomposition.embedding, steered]))]
    write_sheet(out, [ImageStrip("", images, ("image", "regenerated", "steered"))])
    print_groups(group_records(session, found), json_output)


def icon_strip(session: Any, label: str, vector: Any, factors: str) -> Any:
    """Return icons of one feature or group at several strengths."""
    from editor.features.clip.image_grids import ImageStrip
    from editor.features.clip.workspace import parse_strengths

    each = parse_strengths(factors)
    return ImageStrip(
        label, session.renderer.render_icon(vector, session.base_embedding, each), [f"{factor:g}" for factor in each]
    )


def write_sheet(out: Path, strips: list[Any]) -> None:
    """Write strips as one PNG."""
    from editor.features.clip.image_grids import render_strips
    from editor.io.atomic import write_bytes

    write_bytes(out, render_strips(strips))
    typer.echo(out, err=True)


def group_records(session: Any, found: Any) -> list[dict[str, Any]]:
    """Return the groups, largest first, with their features and their nearest text."""
    from editor.features.clip.direction_labels import nearest_text

    return [
        {
            "group": number + 1,
            "mass": round(mass, 4),
            "features": found.decomposition.latents[list(members)].tolist(),
            "nearest": nearest_text(found.group_vector(number), session.texts),
        }
        for number, (members, mass) in enumerate(zip(found.grouping.members, found.grouping.masses, strict=True))
    ]


def print_groups(rows: list[dict[str, Any]], json_output: bool) -> None:
    """Print one line per group."""
    if json_output:
        typer.echo(json.dumps({"groups": rows}))
        return
    for row in rows:
        typer.echo("{group:<3} {mass:>6.1%}  {nearest:<20} features {features}".format(**row))


def register(features: typer.Typer) -> None:
    """Add the commands to `expunge features`."""
    for command in (group, icon, steer):
        features.command()(command)
