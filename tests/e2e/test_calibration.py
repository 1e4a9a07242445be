"""End-to-end test of the real service and editor with an SDXL model: register, calibrate, edit with features, download."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from api_schemas.calibrations import CalibrationRequest
from api_schemas.edits import EditRequest, Removal, Validation
from api_schemas.refinement import RefinementBudget
from api_schemas.registrations import ModelRegistration
from tests.fakes.stack import ROOT, environment, running_stack

pytestmark = pytest.mark.skipif(
    not (ROOT / "editor" / "emoji" / "weights" / "model_index.json").is_file() or find_spec("torch") is None,
    reason="needs torch and the embedded model's weights",
)

CALIBRATION = CalibrationRequest(objects=16, images=4, steps=4, training_steps=20, latents=64)
EDIT = EditRequest(
    model="emoji-xl",
    removals=[Removal(concept="fox", replacement="dog face")],
    validation=Validation(
        steps=2, seeds=1, prompts=2, retain_prompts=4, top_up=2, features=True, budget=RefinementBudget(rounds=0)
    ),
)
REAL = {
    "EXPUNGE_EDITOR": "editor.jobs",
    "EXPUNGE_CALIBRATOR": "editor.jobs.calibration_job",
    "EXPUNGE_REGISTRAR": "editor.jobs.registration",
}
HUB_CLIENT = """
import json, sys
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(f"expunge/{sys.argv[1]}")
images = pipeline("fox", num_inference_steps=1, output_type="np").images
print(json.dumps([type(pipeline).__name__, images.shape]))
"""


def test_sdxl_model_is_registered_calibrated_edited_and_downloaded(tmp_path: Path) -> None:
    from tests.fakes.emoji_sdxl import save_emoji_sdxl

    save_emoji_sdxl(tmp_path / "checkpoints" / "xl")
    roots = json.dumps([str(tmp_path / "checkpoints")])
    with running_stack(tmp_path / "data", EXPUNGE_MODEL_ROOTS=roots, **REAL) as stack:
        models = stack.client.models
        models.register(ModelRegistration(id="emoji-xl", path="xl"))
        model = models.wait("emoji-xl")
        assert model.family == "sdxl"
        assert [encoder.component for encoder in model.editable] == ["text_encoder", "text_encoder_2"]

        messages: list[str] = []
        models.calibrate("emoji-xl", CALIBRATION).wait(lambda event: messages.append(event.message))
        assert any(message.startswith("estimate: up to 64 images, about ") for message in messages)
        assert "generating reference images" in messages
        calibration = models.get("emoji-xl").calibration
        assert calibration
        assert {figures.kind for figures in calibration.figures} == {"object", "style"}

        edit = stack.client.edits.create(EDIT).wait()
        report = edit.report()
        assert report.validation
        target = next(group for group in report.validation.groups if group.group == "target")
        assert (target.accuracy_before.value, target.accuracy_after.value) == (1, 0), "the judge's CLIP scores"
        assert report.features
        assert report.features.sae
        assert report.features.diffc
        assert {solve.component for solve in report.solves} == {"text_encoder", "text_encoder_2"}
        assert (stack.data_dir / "cache" / "calibrations" / calibration.digest / "published").is_file()

        key = (stack.data_dir / "api-key").read_text().strip()
        endpoint = stack.url.replace("http://", f"http://:{key}@") + "/hf"
        done = subprocess.run(
            [sys.executable, "-c", HUB_CLIENT, edit.id],
            env=environment(HF_ENDPOINT=endpoint, HOME=str(tmp_path)),
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads(done.stdout.splitlines()[-1]) == ["StableDiffusionXLPipeline", [1, 64, 64, 3]]
