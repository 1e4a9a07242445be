"""`expunge features`: autoencoders from recorded activations, what they found, and pages to look at it."""

from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError

from api_schemas.cli.options import JsonOutput
from api_schemas.errors import UsageError
from api_schemas.problems import invalid_fields

if TYPE_CHECKING:
    from editor.features.sae import SaeConfig

features = typer.Typer(
    name="features", no_args_is_help=True, add_completion=False, help="Sparse autoencoders: train, look, exchange, use."
)

REGISTRARS: tuple[str, ...] = (
    "editor.cli.features_record:register",
    "editor.cli.features_clip:register",
)
"""Functions of the group that add commands to it: ``module:function``."""
EMBEDDED = "emoji/"
"""Before the name of an autoencoder that ships with the embedded model."""
NOT_FOUND = 1
SMALL_K = 16
"""Active latents of a row, where nothing is said: recordings are small."""

Source = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", help="An autoencoder, ours or another tool's, emoji/BLOCK or emoji/clip_sae."),
]


@features.command()
def train(
    recording: Annotated[
        Path, typer.Argument(help="Recorded activations, or a safetensors file with a tensor `rows`.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the autoencoder; a run that stopped goes on from there.")],
    latents: Annotated[
        int | None, typer.Option(min=1, help="Size of the dictionary; default: four times the width.")
    ] = None,
    k: Annotated[int | None, typer.Option(min=1, help="Active latents of a row; default: 16.")] = None,
    activation: Annotated[Literal["topk", "batchtopk", "relu"] | None, typer.Option(help="Default: topk.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Default: 4000.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Rows of a step; default: 512.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default: 0.002.")] = None,
    l1: Annotated[float | None, typer.Option(help="relu only: weight of the penalty; default: 5.")] = None,
    preset: Annotated[
        Literal["default", "revelio"], typer.Option(help="revelio: the published settings, but for what is given here.")
    ] = "default",
    held_out: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of the images that only measure.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1.")] = "cpu",
    json_output: JsonOutput = False,
) -> None:
    """Train an autoencoder and measure it on images that it did not see."""
    from editor.features.sae.dataset import evaluate_sae, held_out_rows, load_dataset

    computed = device_of(device)
    found = load_dataset(recording)
    chosen = {
        "latents": latents, "k": k, "activation": activation, "steps": steps, "batch": batch,
        "learning_rate": learning_rate, "l1": l1, "seed": seed,
    }  # fmt: skip
    config = configured(
        preset, found.rows.shape[1], {name: value for name, value in chosen.items() if value is not None}
    )
    card = run_training(found, held_out_rows(found, held_out, seed), config, out, computed, evaluate_sae)
    show_card(card, json_output)


def configured(preset: str, width: int, chosen: dict[str, Any]) -> "SaeConfig":
    """The settings of a preset for rows of a width, with those that were chosen in their place.

    Raises:
        UsageError: a choice means nothing.
    """
    from editor.features.sae import SaeConfig, revelio_config

    base = revelio_config(width) if preset == "revelio" else SaeConfig(latents=4 * width, k=SMALL_K)
    try:
        return SaeConfig.model_validate(base.model_dump() | chosen)
    except ValidationError as error:
        first = invalid_fields(error.errors())[0]
        raise UsageError(
            f"--{first.field.replace('_', '-')} {chosen[first.field]}: {first.message}.",
            field=first.field,
            remedy="`expunge features train --help` says what it means.",
        ) from error


def device_of(name: str) -> str:
    """As torch has it.

    Raises:
        UsageError: there is no such device here.
    """
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"--device {name} is not there.", field="device", remedy="Choose cpu, or cuda on a machine with a GPU."
        ) from error
    return name


def run_training(
    found: Any, held_out: Any, config: "SaeConfig", out: Path, device: str, measured: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """Train, measure, write."""
    from editor.features.sae import train_sae
    from editor.features.sae.training import CHECKPOINT_FILE

    done = train_sae(found.rows[~held_out], config, folder=out, device=device)
    card: dict[str, Any] = found.provenance | {"training": config.model_dump()} | measured(done.sae, found, held_out)
    done.sae.save(out, card)
    (out / CHECKPOINT_FILE).unlink(missing_ok=True)
    return card


@features.command()
def show(
    folder: Source,
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the feature browser, one HTML file.")] = None,
    recording: Annotated[
        Path | None, typer.Option(exists=True, help="What it was trained on, with every position, for the page.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of the recorded images.")
    ] = None,
    clip: Annotated[
        Path | None, typer.Option(exists=True, help="A CLIPModel with tokenizer, for nearest texts.")
    ] = None,
    words: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Texts to be searched by, one a line.")
    ] = None,
    json_output: JsonOutput = False,
) -> None:
    """Say what an autoencoder is and how well it does; with --page, a browser of its features."""
    from editor.features.sae.model import read_card

    place = located(folder)
    if page is not None:
        write_page(folder, page, recording, images, clip, words)
    show_card(read_card(place), json_output)


def write_page(
    folder: Path, page: Path, recording: Path | None, images: Path | None, clip: Path | None, words: Path | None
) -> None:
    """The browser, from the embedded artwork or from what is named."""
    from editor.features.browser import write_browser_page
    from editor.features.browser.inputs import load_browser_input

    if str(folder).startswith(EMBEDDED):
        from editor.cli.features_browser import embedded

        write_browser_page(embedded(str(folder).removeprefix(EMBEDDED)), page)
        return
    if recording is None or images is None:
        raise UsageError(
            "A page shows images.", field="recording", remedy="Name the recorded activations and the folder of images."
        )
    write_browser_page(load_browser_input(folder, recording, images, clip, words), page)


@features.command()
def convert(
    folder: Source,
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    to: Annotated[str, typer.Option(help="ours, saelens, sparsify or openai.")],
) -> None:
    """Write an autoencoder in another tool's layout, or another tool's in ours. safetensors only."""
    from editor.features.sae.interop import read_any, write_layout

    sae = read_any(located(folder))
    if to == "ours":
        sae.save(out)
    else:
        write_layout(sae, out, to)


@features.command()
def selftest(seed: Annotated[int, typer.Option(min=0)] = 0, json_output: JsonOutput = False) -> None:
    """Train on rows whose features are known, and count how many are found. Exit code 1: fewer than nine tenths."""
    import json

    from editor.features.sae.selftest import run_selftest as run

    found = run(seed, quiet=json_output)
    lines = [f"{name:<12}{value:.4f}" for name, value in asdict(found).items()]
    typer.echo(json.dumps(asdict(found) | {"ok": found.ok}) if json_output else "\n".join(lines))
    if not found.ok:
        raise typer.Exit(NOT_FOUND)


def located(folder: Path) -> Path:
    """Where it lies; ``emoji/BLOCK`` and ``emoji/clip_sae`` are inside the package."""
    if not str(folder).startswith(EMBEDDED):
        return folder
    from editor.features.clip import embedded as embedded_clip
    from editor.features.sae import embedded as embedded_sae

    name = str(folder).removeprefix(EMBEDDED)
    return (
        embedded_clip.CLIP_SAE_FOLDER
        if name == embedded_clip.CLIP_SAE_FOLDER.name
        else embedded_sae.UNET_SAE_FOLDER / name
    )


def show_card(card: dict[str, Any], json_output: bool) -> None:
    """For people the figures; for machines all of it."""
    import json

    if json_output:
        typer.echo(json.dumps(card))
        return
    figures = card.get("held_out", {}) | {name: card[name] for name in ("morans_i",) if name in card}
    for name, value in figures.items():
        typer.echo(f"{name:<12}{value:.4g}")
    for kind, found in card.get("concepts", {}).items():
        one, probe, kept = found["auc"]["value"], found["probe_auc"]["value"], found["preserved"]
        typer.echo(
            f"{kind:<12}{len(found['best'])} concepts, AUC of one latent {one:.3f}, of a linear probe {probe:.3f}; "
            f"its accuracy {kept['accuracy']:.3f}, on reconstructions {kept['rebuilt']:.3f}"
        )


for registrar in REGISTRARS:
    module, _, function = registrar.partition(":")
    getattr(import_module(module), function)(features)
