"""An edit from file to written delta, against the usual way: load the encoder, apply the paper's procedure, save it.

Stable Diffusion 1.5's text encoder in float32 (492 MB, random weights), one concept in eight prompts, 23 prompts about other
things to keep. Both sides run in one process after imports and with the tokenizer at hand, which a worker keeps as well. Also
with the file out of the page cache; the memory that the edit takes; whether 7 GB files take longer; and 100 concepts at once.
"""

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel
from transformers.utils.logging import disable_progress_bar

from editor.bench.outcome import Measure, Outcome, at_least, at_most, seconds, side_by_side
from editor.bench.synthetic_checkpoints import SD1, SDXL, write_folder, write_single
from editor.checkpoints import open_checkpoint
from editor.checkpoints.tokenizers import open_tokenizer
from editor.methods.default import edit_encoder
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.profile import GENERAL_PROFILE, Profile
from editor.prompts.prompt_builder import PAPER_PREFIXES
from editor.publishing.delta import write_delta

WARM, COLD, MEMORY, GROWTH, HUNDRED = 40, 20, 64, 1.5, 2.0
LARGE = 7_000_000_000
"""Bytes."""
RIDGE = 0.01
PROMPTS = 8
PROFILE = Profile(
    objects={"animals": GENERAL_PROFILE.objects["animals"]},
    styles=("watercolor",),
    styled_wordings=("{a} in the style of {style}", "{a}, {style}", "{style} style {bare}"),
    plain_wordings=("{a}", "a photo of {a}", "a picture of {a}"),
    held_out_wordings=("a {style} picture of {a}",),
    prefixes=("", "in the morning, "),
    suffixes=("", ", highly detailed"),
)
FOX = ResolvedRemoval(Concept("fox"), Destination("dog", "replacement"))


@dataclass(frozen=True)
class Models:
    """Where the models lie."""

    root: Path

    @property
    def folder(self) -> Path:
        """Stable Diffusion 1.5, a diffusers folder."""
        return self.root / "sd1"

    @property
    def weights(self) -> Path:
        """Its text encoder's file."""
        return self.folder / "text_encoder" / "model.safetensors"

    def single(self, name: str) -> Path:
        """A single file."""
        return self.root / f"{name}.safetensors"

    @property
    def out(self) -> Path:
        """What is written."""
        return self.root / "out"

    def write(self) -> None:
        """Write them all; tensors that no edit reads are holes, but for the folder's."""
        write_folder(self.folder)
        for name, shapes in (("sd1", (SD1,)), ("sdxl", SDXL)):
            write_single(self.single(f"{name}-small"), shapes)
            write_single(self.single(f"{name}-large"), shapes, LARGE)


def run() -> Outcome:
    """All figures."""
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        models = Models(Path(name))
        models.write()
        tokenizer = open_tokenizer(open_checkpoint(models.folder).encoders[0])
        sides = (
            partial(remove, models.folder, [FOX], models.out),
            partial(usual_way, models.folder, tokenizer, models.out),
        )
        warm = side_by_side(*sides, before_each=lambda: clear(models.out))
        cold = side_by_side(*sides, before_each=lambda: clear(models.out, models.weights))
        bounds = [
            at_least("times as fast, the file in the page cache", warm[2].median, WARM),
            at_least("times as fast, the file not in the page cache", cold[2].median, COLD),
            at_most("memory over the imports, MB", memory(models), MEMORY),
            at_most("time for a 7 GB file over that for its encoder alone, SD 1", growth(models, "sd1"), GROWTH),
            at_most("time for a 7 GB file over that for its encoders alone, SDXL", growth(models, "sdxl"), GROWTH),
            at_most("100 concepts in one request, s", hundred(models), HUNDRED),
        ]
    return Outcome(name="edit", ours=warm[0], peer=warm[1], ratio=warm[2], bounds=bounds)


def remove(model: Path, removals: Sequence[ResolvedRemoval], out: Path) -> None:
    """Our way, for every encoder of the model."""
    checkpoint = open_checkpoint(model)
    edits = [
        done
        for encoder in checkpoint.encoders
        for done in edit_encoder(encoder, PromptBuilder(open_tokenizer(encoder), PROFILE), removals)
    ]
    write_delta([done.update for done in edits], model, out / "delta.safetensors")


@torch.no_grad()
def usual_way(model: Path, tokenizer: Any, out: Path) -> None:
    """Load the encoder with transformers, edit it as the released code of Diff-QuickFix does, save it."""
    encoder = CLIPTextModel.from_pretrained(model / "text_encoder", use_safetensors=True, dtype=torch.float32)
    projection = encoder.get_submodule("encoder.layers.0.self_attn.out_proj")
    prompts = [prefix + words for prefix in PAPER_PREFIXES for words in (FOX.concept.name, FOX.destination.words)]
    assert len(prompts) == PROMPTS
    encoded = tokenizer(prompts, padding="max_length", return_tensors="pt")["input_ids"]
    keys, values = through(projection, lambda: encoder(encoded))
    ends = (encoded == tokenizer.eos_token_id).int().argmax(1)
    rows = [
        (keys[i, ends[i] - 1 :], values[i + 1, aligned(ends[i + 1] - 1, len(keys[i]) - int(ends[i]) + 1, len(keys[i]))])
        for i in range(0, len(prompts), 2)
    ]
    k, v = torch.cat([key for key, _ in rows]), torch.cat([value for _, value in rows])
    identity = torch.eye(k.shape[1])
    projection.weight.copy_((v.T @ k + RIDGE * projection.weight) @ torch.inverse(k.T @ k + RIDGE * identity))
    encoder.save_pretrained(out / "text_encoder")


def through(module: torch.nn.Module, forward: Callable[[], object]) -> tuple[Tensor, Tensor]:
    """What enters and what leaves a module while a model runs."""
    seen: list[tuple[Tensor, Tensor]] = []
    handle = module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    forward()
    handle.remove()
    return seen[0]


def aligned(first: Tensor, count: int, length: int) -> Tensor:
    """Positions from the destination's last subject token on, the last one repeated."""
    return (first + torch.arange(count)).clamp(max=length - 1)


def clear(out: Path, *files: Path) -> None:
    """No run waits for what another one left to be written; ``files`` leave the page cache."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    os.sync()
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def growth(models: Models, name: str) -> float:
    """Time for a 7 GB file over that for a file of the same encoders alone."""
    small, large = models.single(f"{name}-small"), models.single(f"{name}-large")
    times: tuple[Measure, Measure, Measure] = side_by_side(
        lambda: remove(small, [FOX], models.out),
        lambda: remove(large, [FOX], models.out),
        before_each=lambda: clear(models.out),
    )
    return times[2].median


def hundred(models: Models) -> float:
    """Seconds for 100 concepts at once."""
    names = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
    removals = [ResolvedRemoval(Concept(name), Destination(THINGS[0], "replacement")) for name in names]
    clear(models.out)
    remove(models.folder, removals, models.out)
    return seconds(lambda: remove(models.folder, removals, models.out))


COLOURS = ("red", "green", "blue", "yellow", "black", "white", "brown", "purple", "orange", "golden")
THINGS = ("robot", "castle", "teapot", "violin", "lantern", "dragon", "pumpkin", "wizard", "anchor", "statue")


def memory(models: Models) -> float:
    """Peak resident memory of one edit over that after the imports, in MB, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak, (models.root,))


def peak(root: Path) -> float:
    """Measured in the child, which has imported this module and thus all that an edit needs."""
    models = Models(root)
    open_tokenizer(open_checkpoint(models.folder).encoders[0])
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    remove(models.folder, [FOX], models.out)
    return resident("VmHWM") - before


def resident(name: str) -> float:
    """A figure of the process's memory, in MB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024 / 1e6
