"""`expunge models register|show|delete`: base models, through the service."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from api_schemas.cli.common_options import DEFAULT_DATA_DIR, ApiKeyFile, JsonOutput, ServiceFolder, ServiceUrl
from api_schemas.cli.edit import connect
from api_schemas.errors import UsageError

if TYPE_CHECKING:
    from api_schemas.jobs import Model
    from api_schemas.registrations import ModelRegistration

ModelArgument = Annotated[str, typer.Argument(help="The id of the model, as `expunge models list` prints it.")]


def register(
    path: Annotated[
        str | None,
        typer.Argument(help="A diffusers folder or a safetensors file on the machine of the service, as it sees it."),
    ] = None,
    name: Annotated[
        str, typer.Option("--id", help="The id of the model. Default: the name of the folder or file.")
    ] = "",
    hub: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME@COMMIT", help="Download this repository of a Hub instead.")
    ] = None,
    filename: Annotated[
        str | None, typer.Option("--file", help="With --hub: download this single-file checkpoint alone.")
    ] = None,
    components: Annotated[
        str | None, typer.Option(help="A folder there with what a single file lacks, such as its VAE.")
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A profile to use instead of the model's own.")
    ] = None,
    label: Annotated[list[str], typer.Option(help="A label, for lists and fleets; may be repeated.")] = [],  # noqa: B006
    licence: Annotated[str | None, typer.Option(help="Licence of the model, such as an SPDX id.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until a worker has read the files.")] = True,
    url: ServiceUrl = None,
    api_key_file: ApiKeyFile = None,
    data_dir: ServiceFolder = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Register a base model with a service, from its disk or from a Hub.

    The key needs the scope `models:write`. Exit code: 3 the model is refused.
    """
    source = {"hub": parse_hub(hub, filename)} if hub else {"path": path}
    registration = build_registration(
        id=name or Path((hub or path or "").split("@")[0].removesuffix(".safetensors")).name,
        **source,
        components=components,
        profile=json.loads(profile.read_text()) if profile else None,
        labels=label,
        licence=licence,
    )
    with connect(url, api_key_file, data_dir) as client:
        model = client.models.register(registration)
        if wait:
            with Console(stderr=True, quiet=json_output).status("Reading the model"):
                model = client.models.wait(model.id)
    print_model(model, json_output)


def show(
    model_id: ModelArgument,
    url: ServiceUrl = None,
    api_key_file: ApiKeyFile = None,
    data_dir: ServiceFolder = DEFAULT_DATA_DIR,
    json_output: JsonOutput = False,
) -> None:
    """Show a base model: status, labels, text encoders, files and calibration."""
    with connect(url, api_key_file, data_dir) as client:
        print_model(client.models.get(model_id), json_output)


def delete(
    model_id: ModelArgument,
    force: Annotated[bool, typer.Option(help="Even if jobs or active removals depend on the model.")] = False,
    url: ServiceUrl = None,
    api_key_file: ApiKeyFile = None,
    data_dir: ServiceFolder = DEFAULT_DATA_DIR,
) -> None:
    """Delete the registration of a base model through the service. Its files stay."""
    with connect(url, api_key_file, data_dir) as client:
        client.models.delete(model_id, force=force)
    typer.echo(f"Model {model_id} is deleted from the registry; its files stay.")


def parse_hub(repository: str, filename: str | None) -> dict[str, Any]:
    """Return the fields of a Hub source. Raises `UsageError`."""
    repo_id, separator, revision = repository.partition("@")
    if not separator:
        raise UsageError(
            f"{repository} names no commit.", field="hub", remedy="Add @ and the 40 hexadecimal digits of the commit."
        )
    return {"repo_id": repo_id, "revision": revision, "filename": filename}


def build_registration(**fields: Any) -> "ModelRegistration":
    """Return a registration. Raises `UsageError` that names the option."""
    from pydantic import ValidationError

    from api_schemas.problems import invalid_fields
    from api_schemas.registrations import ModelRegistration

    try:
        return ModelRegistration.model_validate(fields)
    except ValidationError as error:
        first = invalid_fields(error.errors())[0]
        raise UsageError(
            f"{first.field or 'the model'}: {first.message}.", field=first.field or None, remedy=first.remedy
        ) from error


def print_model(model: "Model", json_output: bool) -> None:
    """Print a model."""
    if json_output:
        typer.echo(model.model_dump_json())
        return
    rows = {
        "status": model.status + (f": {model.error.message}" if model.error else ""),
        "family": model.family or "",
        "labels": " ".join(model.labels),
        "licence": model.licence or "",
        "files": f"{len(model.files)}, {sum(file.size for file in model.files)} bytes",
        "revision": model.revision or "not read yet",
        "calibrated": "yes" if model.calibration else "no",
    }
    rows |= {encoder.component: (encoder.digest or "not read yet")[:16] for encoder in model.editable}
    console = Console(highlight=False)
    console.print(f"[bold]{model.id}[/]")
    for name, value in rows.items():
        console.print(f"  {name:<16} {value}", markup=False, soft_wrap=True)
