"""`expunge trace CONCEPT`: trace where a model keeps a concept, on this machine."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from api_schemas.cli.common_options import Components, JsonOutput, ModelId, Seed, inject_options
from api_schemas.errors import UsageError
from editor.cli.common import progress_bar
from editor.cli.device_options import read_device
from editor.cli.profile_option import ProfileFile, read_profile_option
from editor.emoji.locate import embedded_model_folder
from editor.generation.device import DeviceSettings

if TYPE_CHECKING:
    from editor.tracing.layer_selection import LayerChoice
    from editor.tracing.result import Trace
    from editor.tracing.screening import TwoStageResult
    from editor.tracing.tracer import Tracer

MAX_SITES_SHOWN = 12
"""Sites in the printed table; the files have all."""


@inject_options("device", read_device)
def trace(
    concept: Annotated[str, typer.Argument(help="The concept to trace, such as fox, ink or blue.")],
    device: DeviceSettings,
    kind: Annotated[
        Literal["object", "style", "background"], typer.Option(help="Whether it is an object, a style or a background.")
    ] = "object",
    model: ModelId = "emoji",
    model_dir: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A diffusers folder or single-file checkpoint; overrides --model."),
    ] = None,
    components: Components = None,
    profile: ProfileFile = None,
    sites: Annotated[
        Literal["text", "unet", "cross-attention"],
        typer.Option(help="cross-attention: direct effect of layers that read another prompt."),
    ] = "text",
    read_out: Annotated[
        Literal["text", "judge", "noise", "images"] | None,
        typer.Option(help="What is scored, from cheap to expensive. Default: text for text sites, else noise."),
    ] = None,
    corruption: Annotated[
        Literal["noise", "swap"],
        typer.Option(help="noise: add noise to the tokens; swap: use another concept's tokens."),
    ] = "noise",
    prompts: Annotated[
        int, typer.Option(min=1, max=64, help="1: every token of one prompt; more: tokens by role.")
    ] = 8,
    draws: Annotated[int, typer.Option(min=1, max=64, help="Corruptions per prompt.")] = 4,
    seeds: Annotated[int, typer.Option(min=1, max=16, help="Images per corruption.")] = 1,
    window: Annotated[int, typer.Option(min=1, help="Number of adjacent layers restored together.")] = 1,
    padding: Annotated[
        Literal["together", "each"], typer.Option(help="Restore padding tokens together or one by one.")
    ] = "together",
    encoder: Annotated[str, typer.Option(metavar="all|NAME", help="all, text_encoder or text_encoder_2.")] = "all",
    confirm: Annotated[
        int, typer.Option(min=0, help="Trace this many top sites again by images, and as many random ones.")
    ] = 0,
    steps: Annotated[int, typer.Option(min=1, max=150, help="Sampler steps per image.")] = 20,
    guidance: Annotated[float, typer.Option(min=1, max=20, help="Classifier-free guidance.")] = 3.0,
    memory: Annotated[str, typer.Option(help="Memory limit for activations, such as 500MB or 2GB.")] = "2GB",
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Output folder; an interrupted trace in it is resumed.")
    ] = None,
    json_output: JsonOutput = False,
) -> None:
    """Trace where a model keeps a concept: causal mediation analysis of its text encoders or its UNet.

    Corrupts the concept's tokens, restores one site at a time, and measures how much of the concept comes back.

    Exit code: 0 done; 2 the input is wrong; 3 something failed.
    """
    model_path = model_dir or embedded_model_folder(model)
    from editor.generation.config import make_sampler
    from editor.generation.memory_budget import MemoryBudget
    from editor.io.memory_size import parse_memory
    from editor.jobs import judge_folder
    from editor.tracing.tracer import TraceOptions, Tracer

    options = TraceOptions(
        concept=concept,
        attribute=kind,
        sites=sites,
        read_out=read_out or ("text" if sites == "text" else "noise"),
        corruption=corruption,
        prompts=prompts,
        draws=draws,
        seeds=seeds,
        window=window,
        padding=padding,
        encoder=encoder,
        sampler=make_sampler(device.resolve(), steps, guidance),
        device=device,
        budget=MemoryBudget(parse_memory(memory)),
        seed=seed,
    )
    name, own_profile = model_dir.name if model_dir else model, read_profile_option(profile)
    tracer = Tracer(model_path, judge_folder(), options, name, components, own_profile)
    run_and_print(tracer, confirm, out, json_output)


def run_and_print(tracer: "Tracer", confirm: int, out: Path | None, json_output: bool) -> None:
    """Trace, write the files, and print the result."""
    from editor.tracing.heatmaps import write_figures
    from editor.tracing.layer_selection import choose_layer

    with progress_bar("tracing", quiet=json_output) as progress:
        found = tracer.trace(progress, out)
    screening = confirm_top_sites(tracer, found, confirm, out, json_output) if confirm else None
    trace = screening.expensive if screening else found
    files = [*trace.save(out), *write_figures(trace, out)] if out else []
    choice = choose_layer(found) if tracer.options.sites == "text" else None
    if json_output:
        typer.echo(json.dumps(result_record(trace, choice, screening, files)))
    else:
        print_result(trace, choice, screening, files)


def confirm_top_sites(tracer: "Tracer", cheap: "Trace", count: int, out: Path | None, quiet: bool) -> "TwoStageResult":
    """Trace the ``count`` strongest sites, and as many random others, again by images."""
    from editor.tracing.screening import screen_then_confirm

    if tracer.options.sites != "text" or tracer.options.read_out == "images":
        raise UsageError(
            "--confirm works on text sites and a read-out other than images.",
            field="confirm",
            remedy="Leave --confirm out.",
        )
    if out:
        cheap.save(out / "screening")
    confirming_tracer = replace(tracer, options=replace(tracer.options, read_out="images"))
    with progress_bar("confirming", quiet=quiet) as progress:
        return screen_then_confirm(
            cheap, lambda sites: confirming_tracer.trace(progress, out, sites), count, count, tracer.options.seed
        )


def result_record(
    trace: "Trace", choice: "LayerChoice | None", screening: "TwoStageResult | None", files: list[Path]
) -> dict[str, object]:
    """Return the result as JSON."""
    return {
        "trace": trace.summary.model_dump(mode="json"),
        "layer": asdict(choice) if choice else None,
        "rank_correlation": screening.correlation.model_dump() if screening else None,
        "files": [str(path) for path in files],
    }


def print_result(
    trace: "Trace", choice: "LayerChoice | None", screening: "TwoStageResult | None", files: list[Path]
) -> None:
    """Print the strongest sites, the layer to edit and the files."""
    from editor.tracing.sites import TextSite

    table, places = Table("site", "at", "restored share", "95 % interval", "n"), trace.spec.places
    for site in trace.rank_sites()[:MAX_SITES_SHOWN]:
        effect = trace.effects[site]
        where = places[site.place] if isinstance(site, TextSite) else site.kind
        table.add_row(site.label, where, f"{effect.value:.2f}", f"{effect.low:.2f} to {effect.high:.2f}", str(effect.n))
    Console().print(table)
    if screening:
        found = screening.correlation
        typer.echo(f"rank correlation with images: {found.value:.2f} ({found.low:.2f} to {found.high:.2f})")
    if choice:
        typer.echo(f"layer to edit: {choice.layer}. {choice.reason}")
    for path in files:
        typer.echo(path)
