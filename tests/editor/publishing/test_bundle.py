"""The published folder as a whole, and its model card."""

import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from api_schemas.report import AuditReport
from editor.checkpoints import weight_files
from editor.checkpoints.tensor_update import TensorUpdate
from editor.errors import PublishingError
from editor.io.digests import file_digest
from editor.io.figures import Picture
from editor.publishing.apply import apply_delta
from editor.publishing.bundle import edit_digest, publish
from editor.publishing.model_card import render_model_card
from editor.publishing.template_environment import escape_markdown

WEIGHTS = "text_encoder/model.safetensors"


def test_publishing_lists_every_file_with_its_digest(
    report: AuditReport, update: TensorUpdate, model_dir: Path, sheet: Picture, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("not yours")
    published = publish(report, [update], model_dir, [sheet], tmp_path)
    assert AuditReport.model_validate_json((tmp_path / "report.json").read_text()) == published
    names = {artifact.name for artifact in published.artifacts}
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files - names == {"report.json", "overlays.json", "mine.txt"}
    assert names - files == {WEIGHTS}, "full weights are published, but not stored"
    assert {
        "lora.safetensors",
        "lora_peft.safetensors",
        "text_encoder/config.json",
        "figures/trace-0.svg",
        "report.pdf",
    } <= names
    (full,) = apply_delta(model_dir, tmp_path / "delta.safetensors", tmp_path / "full")
    for artifact in published.artifacts:
        content = (full if artifact.name == WEIGHTS else tmp_path / artifact.name).read_bytes()
        assert (artifact.size, artifact.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_publishing_twice_gives_the_same_bytes(
    report: AuditReport, update: TensorUpdate, model_dir: Path, sheet: Picture, tmp_path: Path
) -> None:
    first = publish(report, [update], model_dir, [sheet], tmp_path / "first")
    assert publish(report, [update], model_dir, [sheet], tmp_path / "second") == first


def test_base_other_than_the_reported_one_is_rejected(
    report: AuditReport, update: TensorUpdate, model_dir: Path, tmp_path: Path
) -> None:
    model = report.model.model_copy(update={"files": dict.fromkeys(report.model.files, "0" * 64)})
    with pytest.raises(PublishingError):
        publish(report.model_copy(update={"model": model}), [update], model_dir, [], tmp_path)
    assert not (tmp_path / "report.json").exists()


def test_edit_digest_ignores_the_order_and_the_job(report: AuditReport) -> None:
    other = report.removals[0].model_copy(update={"concept": "owl"})
    one = report.model_copy(update={"removals": [*report.removals, other]})
    two = report.model_copy(update={"removals": [other, *report.removals], "job_id": "edit_2"})
    assert edit_digest(one) == edit_digest(two) != edit_digest(report)


def test_model_card_escapes_concepts(report: AuditReport, sheet: Picture) -> None:
    card = render_model_card(report, [sheet])
    assert "<script>" not in card
    front_matter = card.split("---")[1]
    assert 'base_model: "tiny"' in front_matter
    assert "(figures/samples-0.png)" in card
    assert all(row.count("|") - row.count("\\|") == 6 for row in card.splitlines() if row.startswith("|"))


@pytest.mark.parametrize("text", ["a\nb", "# a", "- a", "[a](b)", "`a`", "a | b", "![x](y)"])
def test_markdown_escapes_markup_and_line_breaks(text: str) -> None:
    shown = escape_markdown(text)
    assert "\n" not in shown
    assert re.sub(r"\\(.)", r"\1", shown) == " ".join(text.split())
    assert not re.search(r"(?<!\\)[#\[\]`|!*_-]", shown)


def test_model_card_describes_how_to_load_the_published_files(
    report: AuditReport, update: TensorUpdate, model_dir: Path, tmp_path: Path
) -> None:
    publish(report, [update], model_dir, [], tmp_path / "all")
    card = (tmp_path / "all" / "README.md").read_text()
    assert 'text_encoder = CLIPTextModel.from_pretrained(".", subfolder="text_encoder"' in card
    assert 'weight_name="lora.safetensors"' in card
    publish(report, [update], model_dir, [], tmp_path / "delta", full=False)
    assert (
        "from_pretrained(" not in (tmp_path / "delta" / "README.md").read_text().split("load_lora")[0].split("LoRA")[0]
    )


def test_one_delta_contains_both_encoders_of_sdxl(
    report: AuditReport, update: TensorUpdate, model_dir: Path, tmp_path: Path
) -> None:
    """SDXL's second encoder is edited as well, with the tensor names that transformers expects."""
    model = shutil.copytree(model_dir, tmp_path / "model")
    shutil.copytree(model / "text_encoder", model / "text_encoder_2")
    second = replace(update, component="text_encoder_2", file=model / "text_encoder_2" / "model.safetensors")
    files = {name: file_digest(path) for name, path in weight_files(model).items()}
    solves = [report.solves[0], report.solves[0].model_copy(update={"component": "text_encoder_2"})]
    record = report.model.model_copy(update={"files": files, "family": "sdxl"})
    both = report.model_copy(update={"model": record, "solves": solves})
    first = replace(update, file=model / WEIGHTS)
    published = publish(both, [first, second], model, [], tmp_path / "out")
    weights = [artifact.name for artifact in published.artifacts if artifact.kind == "weights"]
    assert weights == ["text_encoder/model.safetensors", "text_encoder_2/model.safetensors"]
    card, page = ((tmp_path / "out" / name).read_text() for name in ("README.md", "report.html"))
    assert "text_encoder_2 = CLIPTextModelWithProjection.from_pretrained" in card
    assert "import CLIPTextModel, CLIPTextModelWithProjection" in card
    assert page.count("<caption>Update of") == page.count("<caption>Values of the trade-off curve") == 2
    assert edit_digest(both) != edit_digest(both.model_copy(update={"solves": solves[:1]}))
    lora = load_file(tmp_path / "out" / "lora.safetensors")
    assert {name.partition("_text_model")[0] for name in lora} == {"lora_te1", "lora_te2"}


def test_no_full_weights_are_listed_without_full(
    report: AuditReport, update: TensorUpdate, model_dir: Path, tmp_path: Path
) -> None:
    published = publish(report, [update], model_dir, [], tmp_path, full=False)
    assert {artifact.kind for artifact in published.artifacts} == {"delta", "lora", "figure", "card", "report"}


def test_lora_as_large_as_its_tensor_is_not_written_and_the_report_says_why(
    report: AuditReport, update: TensorUpdate, model_dir: Path, tmp_path: Path
) -> None:
    half = torch.ones(32, 16, dtype=torch.float64)
    published = publish(report, [replace(update, up=half, down=half.T)], model_dir, [], tmp_path)
    assert published.lora_note is not None
    assert not list(tmp_path.glob("lora*"))
    assert "has rank 16" in published.lora_note
    assert "has rank 16" in (tmp_path / "report.html").read_text()
    card = (tmp_path / "README.md").read_text()
    assert "has rank 16" in card
    assert "load_lora_weights" not in card
    just_below = replace(update, up=half[:, :15], down=half.T[:15])
    assert publish(report, [just_below], model_dir, [], tmp_path / "below").lora_note is None
