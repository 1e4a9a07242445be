"""`expunge features`: train, inspect and exchange sparse autoencoders of recorded activations."""

from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from api_schemas.cli.common_options import JsonOutput
from api_schemas.errors import UsageError

if TYPE_CHECKING:
    from editor.features.sae import SaeConfig

features = typer.Typer(
    name="features",
    no_args_is_help=True,
    add_completion=False,
    help="Train, inspect, exchange and use sparse autoencoders.",
)

REGISTRARS: tuple[str, ...] = (
    "editor.cli.features_record:register",
    "editor.cli.features_calibrate:register",
    "editor.cli.features_clip:register",
)
"""Functions of the group that add commands to it: ``module:function``."""
EMBEDDED = "emoji/"
"""Prefix of the autoencoders that ship with the embedded model."""
FEATURES_MISSED = 1
DEFAULT_K = 16
"""Active latents per row; recordings are small."""

Source = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", help="An autoencoder of ours or of another tool, emoji/BLOCK or emoji/clip_sae."),
]


@features.command()
def train(
    recording: Annotated[
        Path, typer.Argument(help="Recorded activations, or a safetensors file with a tensor `rows`.")
    ],
    out: Annotated[Path, typer.Argument(help="Output folder; an interrupted run in it is resumed.")],
    latents: Annotated[
        int | None, typer.Option(min=1, help="Size of the dictionary; default: four times the width.")
    ] = None,
    k: Annotated[int | None, typer.Option(min=1, help="Active latents per row; default: 16.")] = None,
    activation: Annotated[Literal["topk", "batchtopk", "relu"] | None, typer.Option(help="Default: topk.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Default: 4000.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Rows per step; default: 512.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default: 0.002.")] = None,
    l1: Annotated[float | None, typer.Option(help="relu only: weight of the L1 penalty; default: 5.")] = None,
    preset: Annotated[
        Literal["default", "revelio"],
        typer.Option(help="revelio: the published settings; other options override them."),
    ] = "default",
    held_out: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share of images held out for evaluation.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="A torch device, such as cpu, cuda or cuda:1.")] = "cpu",
    json_output: JsonOutput = False,
) -> None:
    """Train an autoencoder and evaluate it on held-out images."""
    from editor.features.sae.dataset import evaluate_sae, held_out_rows, load_dataset

    computed = check_device(device)
    found = load_dataset(recording)
    chosen = {
        "latents": latents, "k": k, "activation": activation, "steps": steps, "batch": batch,
        "learning_rate": learning_rate, "l1": l1, "seed": seed,
    }  # fmt: skip
    config = make_config(
        preset, found.rows.shape[1], {name: value for name, value in chosen.items() if value is not None}
    )
    card = run_training(found, held_out_rows(found, held_out, seed), config, out, computed, evaluate_sae)
    print_card(card, json_output)


def make_config(preset: str, width: int, chosen: dict[str, Any]) -> "SaeConfig":
    """Return the settings of a preset for rows of a width, overridden by the options given.

    Raises:
        UsageError: an option has an invalid value.
    """
    from pydantic import ValidationError

    from api_schemas.problems import invalid_fields
    from editor.features.sae import SaeConfig, revelio_config

    base = revelio_config(width) if preset == "revelio" else SaeConfig(latents=4 * width, k=DEFAULT_K)
    try:
        return SaeConfig.model_validate(base.model_dump() | chosen)
    except ValidationError as error:
        first = invalid_fields(error.errors())[0]
        raise UsageError(
            f"--{first.field.replace('_', '-')} {chosen[first.field]}: {first.message}.",
            field=first.field,
            remedy="See `expunge features train --help`.",
        ) from error


def check_device(name: str) -> str:
    """Return the name of a torch device that works here.

    Raises:
        UsageError: this machine has no such device.
    """
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"--device {name} is not available.", field="device", remedy="Choose cpu, or cuda on a machine with a GPU."
        ) from error
    return name


def run_training(
    found: Any, held_out: Any, config: "SaeConfig", out: Path, device: str, measured: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """Train, evaluate and write an autoencoder; return its card."""
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
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the feature browser to one HTML file.")
    ] = None,
    recording: Annotated[
        Path | None,
        typer.Option(exists=True, help="The recording it was trained on, with every position, for the page."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of the recorded images.")
    ] = None,
    clip: Annotated[
        Path | None, typer.Option(exists=True, help="A CLIPModel folder with its tokenizer, for nearest texts.")
    ] = None,
    words: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Texts to search by, one per line.")
    ] = None,
    json_output: JsonOutput = False,
) -> None:
    """Describe an autoencoder and its metrics; with --page, write a browser of its features."""
    from editor.features.sae.model import read_card

    place = resolve_folder(folder)
    if page is not None:
        write_page(folder, page, recording, images, clip, words)
    print_card(read_card(place), json_output)


def write_page(
    folder: Path, page: Path, recording: Path | None, images: Path | None, clip: Path | None, words: Path | None
) -> None:
    """Write the browser from the embedded artwork, or from the recording and images given."""
    from editor.features.browser import write_browser_page
    from editor.features.browser.inputs import load_browser_input

    if str(folder).startswith(EMBEDDED):
        from editor.cli.features_browser import embedded_sae_input

        write_browser_page(embedded_sae_input(str(folder).removeprefix(EMBEDDED)), page)
        return
    if recording is None or images is None:
        raise UsageError("--page needs images.", field="recording", remedy="Add --recording and --images.")
    write_browser_page(load_browser_input(folder, recording, images, clip, words), page)


@features.command()
def convert(
    folder: Source,
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    to: Annotated[str, typer.Option(help="ours, saelens, sparsify or openai.")],
) -> None:
    """Convert an autoencoder to or from another tool's layout. safetensors only."""
    from editor.features.sae.interop import read_any, write_layout

    sae = read_any(resolve_folder(folder))
    if to == "ours":
        sae.save(out)
    else:
        write_layout(sae, out, to)


@features.command()
def selftest(seed: Annotated[int, typer.Option(min=0)] = 0, json_output: JsonOutput = False) -> None:
    """Train on rows with known features and count those recovered. Exit code 1: fewer than nine tenths."""
    import json

    from editor.features.sae.selftest import run_selftest as run

    found = run(seed, quiet=json_output)
    lines = [f"{name:<12}{value:.4f}" for name, value in asdict(found).items()]
    typer.echo(json.dumps(asdict(found) | {"ok": found.ok}) if json_output else "\n".join(lines))
    if not found.ok:
        raise typer.Exit(FEATURES_MISSED)


def resolve_folder(folder: Path) -> Path:
    """Return a folder; ``emoji/BLOCK`` and ``emoji/clip_sae`` are inside the package."""
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


def print_card(card: dict[str, Any], json_output: bool) -> None:
    """Print the main metrics, or the whole card as JSON."""
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
