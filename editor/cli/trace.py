"""`expunge trace CONCEPT`: where a model makes a concept, on this machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from api_schemas.cli.options import JsonOutput, ModelId, Seed
from api_schemas.errors import UsageError
from editor.emoji.locate import embedded_model_folder
from editor.generation.config import Sampler, native_precision
from editor.generation.memory_budget import MemoryBudget, parse_memory
from editor.io.progress import ProgressCallback
from editor.jobs import judge_folder
from editor.tracing.heatmaps import write
from editor.tracing.layer_selection import Choice, choose_layer
from editor.tracing.result import Trace
from editor.tracing.screening import Screening, screen_then_confirm
from editor.tracing.sites import TextSite
from editor.tracing.tracer import Options, Workbench

SHOWN = 12
"""Sites in the table for people; all are in the files."""


def trace(
    concept: Annotated[str, typer.Argument(help="What to trace: fox, ink, blue.")],
    kind: Annotated[Literal["object", "style", "background"], typer.Option(help="What the concept is.")] = "object",
    model: ModelId = "emoji",
    model_dir: Annotated[Path | None, typer.Option(help="A model's folder or file, in place of --model.")] = None,
    sites: Annotated[
        Literal["text", "unet", "cross-attention"],
        typer.Option(help="cross-attention: layers that alone read another prompt (direct effect)."),
    ] = "text",
    read_out: Annotated[
        Literal["text", "judge", "noise", "images"] | None,
        typer.Option(help="From cheap to dear. Left out: text for text sites, else noise."),
    ] = None,
    corruption: Annotated[Literal["noise", "swap"], typer.Option(help="swap: another concept's tokens.")] = "noise",
    prompts: Annotated[int, typer.Option(min=1, max=64, help="1: every token of one prompt; more: by role.")] = 8,
    draws: Annotated[int, typer.Option(min=1, max=64, help="Corruptions of each prompt.")] = 4,
    seeds: Annotated[int, typer.Option(min=1, max=16, help="Images of each corruption.")] = 1,
    window: Annotated[int, typer.Option(min=1, help="Neighbouring layers restored together.")] = 1,
    padding: Annotated[Literal["together", "each"], typer.Option(help="Of one prompt.")] = "together",
    encoder: Annotated[str, typer.Option(metavar="all|NAME", help="text_encoder or text_encoder_2 alone.")] = "all",
    confirm: Annotated[int, typer.Option(min=0, help="Trace this many top sites, and as many others, by images.")] = 0,
    steps: Annotated[int, typer.Option(min=1, max=150, help="Sampler steps.")] = 20,
    guidance: Annotated[float, typer.Option(min=1, max=20, help="Classifier-free guidance.")] = 3.0,
    memory: Annotated[str, typer.Option(help="Ceiling of activations, as 500MB or 2GB.")] = "2GB",
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the files go; resumes what lies there.")
    ] = None,
    json_output: JsonOutput = False,
) -> None:
    """Find where a model makes a concept: corrupt its tokens, restore one site at a time, see what comes back.

    Exit code: 0 done; 2 the input is wrong; 3 something failed.
    """
    options = Options(
        concept=concept,
        attribute=kind,
        where=sites,
        read_out=read_out or ("text" if sites == "text" else "noise"),
        corruption=corruption,
        prompts=prompts,
        draws=draws,
        seeds=seeds,
        window=window,
        padding=padding,
        encoder=encoder,
        sampler=Sampler(steps, guidance, native_precision()),
        budget=MemoryBudget(parse_memory(memory)),
        seed=seed,
    )
    bench = Workbench(
        model_dir or embedded_model_folder(model), judge_folder(), options, model_dir.name if model_dir else model
    )
    run_and_show(bench, confirm, out, json_output)


def run_and_show(bench: Workbench, confirm: int, out: Path | None, json_output: bool) -> None:
    """Trace, write the files, and print."""
    with progress(quiet=json_output) as tick:
        found = bench.trace(tick, out)
    screening = confirmed(bench, found, confirm, out, json_output) if confirm else None
    trace = screening.dear if screening else found
    files = [*trace.save(out), *write(trace, out)] if out else []
    choice = choose_layer(found) if bench.options.where == "text" else None
    if json_output:
        typer.echo(json.dumps(answer(trace, choice, screening, files)))
    else:
        show(trace, choice, screening, files)


@contextmanager
def progress(*, quiet: bool, description: str = "tracing") -> Iterator[ProgressCallback]:
    """A bar on standard error; what it yields is told the finished fraction."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, quiet=quiet), transient=True) as bar:
        task = bar.add_task(description, total=1.0)
        yield lambda done: bar.update(task, completed=done)


def confirmed(bench: Workbench, cheap: Trace, count: int, out: Path | None, quiet: bool) -> Screening:
    """The strongest sites again, by images, beside a random sample of others."""
    if bench.options.where != "text" or bench.options.read_out == "images":
        raise UsageError(
            "Only a cheap trace of text sites is confirmed.", field="confirm", remedy="Leave --confirm out."
        )
    if out:
        cheap.save(out / "screening")
    dear = Workbench(bench.model_path, bench.judge_folder, replace(bench.options, read_out="images"), bench.name)
    with progress(quiet=quiet, description="confirming") as tick:
        return screen_then_confirm(cheap, lambda sites: dear.trace(tick, out, sites), count, count, bench.options.seed)


def answer(trace: Trace, choice: Choice | None, screening: Screening | None, files: list[Path]) -> dict[str, object]:
    """The result for machines."""
    return {
        "trace": trace.summary.model_dump(mode="json"),
        "layer": asdict(choice) if choice else None,
        "rank_correlation": screening.correlation.model_dump() if screening else None,
        "files": [str(path) for path in files],
    }


def show(trace: Trace, choice: Choice | None, screening: Screening | None, files: list[Path]) -> None:
    """The result for people."""
    table, places = Table("site", "at", "restored share", "95 % interval", "n"), trace.question.places
    for site in trace.ranked()[:SHOWN]:
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
