"""End-to-end test with the real editor and the embedded model; few prompts and steps."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from api_schemas.edits import EditRequest, Removal, Validation
from api_schemas.refinement import RefinementBudget
from editor.publishing.attestation.keys import read_keys
from editor.publishing.attestation.verification_case import VerificationCase
from editor.publishing.attestation.verify import verify
from tests.fakes.stack import ROOT, running_stack

WEIGHTS = ROOT / "editor" / "emoji" / "weights" / "model_index.json"

pytestmark = pytest.mark.skipif(
    not WEIGHTS.is_file() or find_spec("torch") is None, reason="needs torch and the embedded model's weights"
)


def test_remove_a_concept_from_the_embedded_model(tmp_path: Path) -> None:
    request = EditRequest(
        model="emoji",
        removals=[Removal(concept="fox", replacement="dog face")],
        validation=Validation(steps=2, prompts=2, retain_prompts=2, top_up=1, budget=RefinementBudget(rounds=1)),
    )
    with running_stack(tmp_path / "data", EXPUNGE_EDITOR="editor.jobs") as stack:
        (model,) = [model for model in stack.client.models.list() if model.id == "emoji"]
        assert model.max_phrase_tokens == 14
        edit = stack.client.edits.create(request).wait()
        assert edit.verdict in ("passed", "failed", "inconclusive")
        paths = {path.relative_to(tmp_path / "out") for path in edit.download(tmp_path / "out")}
        report = edit.report()
    for name in ("delta.safetensors", "lora.safetensors", "text_encoder/model.safetensors", "report.html"):
        assert Path(name) in paths
    assert (report.job_id, report.verdict) == (edit.id, edit.verdict)
    assert report.removals[0].concept == "fox"
    keys = read_keys(tmp_path / "data" / "signing" / "keys.json")
    found = verify(VerificationCase(tmp_path / "out", keys, WEIGHTS.parent))
    assert found.ok, [finding for finding in found.findings if finding.outcome == "failed"]
    assert found.signed_by == [report.signed_by]
