"""`expunge features calibrate`: train the instruments of feature scores on a base model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from api_schemas.cli.common_options import JsonOutput
from api_schemas.plans import describe_estimate
from editor.cli.common import progress_bar
from editor.cli.device_options import DeviceName, PrecisionName, read_device
from editor.cli.profile_option import ProfileFile, read_profile_option

if TYPE_CHECKING:
    from editor.judging.feature_scores.calibration import Calibration


def calibrate(
    model: Annotated[Path, typer.Argument(exists=True, help="A diffusers folder or a single-file checkpoint.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Output folder; default: where `expunge erase --features` looks for it. Resumed if interrupted."
        ),
    ] = None,
    objects: Annotated[int, typer.Option(min=12, help="Objects of the profile to generate.")] = 100,
    images: Annotated[int, typer.Option(min=4, help="Images of each object, each in another style.")] = 8,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Sampler steps per image; default: those of the model's family.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, help="Classifier-free guidance scale; default: that of the model's family.")
    ] = None,
    training_steps: Annotated[int, typer.Option(min=1, help="Training steps of each autoencoder.")] = 4000,
    latents: Annotated[
        int | None, typer.Option(min=16, help="Size of each dictionary; default: four times the width.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    components: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A folder with what the model lacks.")
    ] = None,
    profile: ProfileFile = None,
    device: DeviceName = None,
    precision: PrecisionName = None,
    json_output: JsonOutput = False,
) -> None:
    """Train the instruments of feature scores on a base model's own images.

    Generates images of the profile's concepts, measures which of them the model draws and the judge recognises, records
    activations, and trains a sparse autoencoder, linear probes and a Diff-C classifier for objects and for styles.
    """
    from editor.jobs.calibration import CalibrationOptions
    from editor.jobs.context import DEFAULT_CACHE
    from editor.jobs.local_calibration import calibrate_model

    options = CalibrationOptions(
        objects=objects, images=images, seed=seed, latents=latents, training_steps=training_steps
    )
    where, console = read_device(device, precision), Console(stderr=True, quiet=json_output, highlight=False)
    with progress_bar("calibrating", quiet=json_output) as progress:
        calibration, folder = calibrate_model(
            model,
            options,
            steps=steps,
            guidance=guidance,
            cache=DEFAULT_CACHE.expanduser(),
            out=out,
            components=components,
            profile=read_profile_option(profile),
            device=where,
            progress=progress,
            report_estimate=lambda estimate: console.print(f"calibration  {describe_estimate(estimate)}"),
        )
    print_calibration(calibration, folder, json_output)


def print_calibration(calibration: "Calibration", folder: Path, json_output: bool) -> None:
    """Print the figures of a calibration."""
    console = Console()
    if json_output:
        console.print_json(data={"folder": str(folder), **calibration.model_dump(mode="json")})
        return
    table = Table("kind", "known", "not known", "module", "FVU", "probe", "Diff-C")
    for row in summary_rows(calibration):
        table.add_row(*map(str, row))
    console.print(table)
    console.print(f"Written to {folder}", soft_wrap=True)


def summary_rows(calibration: "Calibration") -> list[tuple[Any, ...]]:
    """Return a row of figures for each kind of concept that has instruments."""
    return [
        (
            sae.kind,
            len(calibration.known(sae.kind)),
            sum(not concept.known for concept in calibration.concepts if concept.kind == sae.kind),
            sae.module,
            f"{sae.unexplained_variance:.2f}",
            f"{sae.probe_accuracy:.2f}",
            f"{classifier.accuracy:.2f}",
        )
        for sae, classifier in zip(calibration.autoencoders, calibration.classifiers, strict=True)
    ]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(calibrate)
