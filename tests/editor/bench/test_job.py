"""The benchmark's peer edits every CLIP text encoder of a pipeline and nothing else."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from editor.bench.job import CONCEPT, REPLACEMENT
from editor.bench.job_peer import FIRST_PROJECTION, edit_pipeline
from tests.fakes.pipelines import sdxl


def test_peer_edits_the_first_projection_of_each_text_encoder(tmp_path: Path) -> None:
    sdxl().to(torch.float16).save_pretrained(tmp_path / "model")
    edit_pipeline(tmp_path / "model", tmp_path / "out", CONCEPT, REPLACEMENT)
    changed = []
    for file in sorted((tmp_path / "model").rglob("*.safetensors")):
        name = file.relative_to(tmp_path / "model")
        before, after = load_file(file), load_file(tmp_path / "out" / name)
        changed += [f"{name.parent}: {key}" for key in before if not torch.equal(before[key], after[key])]
    assert [entry.split(":")[0] for entry in changed] == ["text_encoder", "text_encoder_2"]
    assert all(f"{FIRST_PROJECTION}.weight" in entry for entry in changed)
