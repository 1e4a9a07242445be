"""`expunge models calibrate`: calibrate a registered model through the service."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from api_schemas.calibrations import CalibrationRequest
from api_schemas.cli.common_options import DEFAULT_DATA_DIR, ApiKeyFile, JsonOutput, ServiceFolder, ServiceUrl
from api_schemas.cli.edit import connect, watch

if TYPE_CHECKING:
    from api_schemas.jobs import ModelCalibration


def calibrate(
    model_id: Annotated[str, typer.Argument(help="The id of the model, as `expunge models list` prints it.")],
    objects: Annotated[int, typer.Option(min=12, max=5000, help="Objects of the profile to generate.")] = 100,
    images: Annotated[int, typer.Option(min=4, max=100, help="Images of each object, each in another style.")] = 8,
    steps: Annotated[
        int | None, typer.Option(min=1, max=150, help="Sampler steps per image; default: those of the model's family.")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(min=0, max=20, help="Classifier-free guidance scale; default: that of the model's family."),
    ] = None,
    training_steps: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Training steps of each autoencoder.")
    ] = 4000,
    latents: Annotated[
        int | None,
        typer.Option(min=16, max=1_000_000, help="Size of each dictionary; default: four times the width."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1)] = 0,
    url: ServiceUrl = None,
    api_key_file: ApiKeyFile = None,
    data_dir: ServiceFolder = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Calibrate a registered model through the service, so that edits with `--features` score features inside it.

    The key needs the scope `models:write`.
    """
    request = CalibrationRequest(
        objects=objects,
        images=images,
        steps=steps,
        guidance=guidance,
        training_steps=training_steps,
        latents=latents,
        seed=seed,
    )
    with connect(url, api_key_file, data_dir) as client:
        watch(client.models.calibrate(model_id, request), Console(stderr=True, quiet=json_output))
        calibration = client.models.get(model_id).calibration
    if calibration:
        print_calibration(calibration, json_output)


def print_calibration(calibration: "ModelCalibration", json_output: bool) -> None:
    """Print the figures of a calibration."""
    if json_output:
        typer.echo(calibration.model_dump_json())
        return
    table = Table("kind", "known", "not known", "module", "FVU", "probe", "Diff-C")
    for row in calibration.figures:
        figures = (row.unexplained_variance, row.probe_accuracy, row.diffc_accuracy)
        table.add_row(row.kind, str(row.known), str(row.unknown), row.module, *(f"{figure:.2f}" for figure in figures))
    Console().print(table)
