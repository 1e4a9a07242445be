"""End-to-end test: a model is registered, calibrated over the API, and edited with feature scores, by the real editor."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from api_schemas.calibrations import CalibrationRequest
from api_schemas.edits import EditRequest, Removal, Validation
from tests.fakes.stack import ROOT, environment, running_stack

WEIGHTS = ROOT / "editor" / "emoji" / "weights"
TINY = CalibrationRequest(objects=16, images=4, steps=4, training_steps=20, latents=64)

pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "model_index.json").is_file() or find_spec("torch") is None,
    reason="needs torch and the embedded model's weights",
)

HUB_CLIENT = """
import sys
from diffusers import StableDiffusionPipeline
pipeline = StableDiffusionPipeline.from_pretrained(f"expunge/{sys.argv[1]}")
print(pipeline("fox", num_inference_steps=1, output_type="np").images.shape)
"""


def other_base(folder: Path) -> Path:
    """Write a base model that draws emoji but is not the embedded one, for which instruments are shipped."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(WEIGHTS, folder)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("conv_out.bias"))
    tensors[name] += torch.full_like(tensors[name], 1e-4)
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def test_calibrated_model_gets_feature_scores(tmp_path: Path) -> None:
    other_base(tmp_path / "models" / "other")
    request = EditRequest(
        model="other",
        removals=[Removal(concept="fox", replacement="dog face")],
        validation=Validation(steps=2, seeds=1, prompts=2, retain_prompts=4, features=True),
    )
    real = {"EXPUNGE_EDITOR": "editor.jobs", "EXPUNGE_CALIBRATOR": "editor.jobs.calibration_job"}
    with running_stack(tmp_path / "data", **real) as stack:
        messages: list[str] = []
        job = stack.client.models.calibrate("other", TINY)
        job = job.wait(lambda event: messages.append(event.message))
        assert "generating reference images" in messages
        calibration = stack.client.models.get("other").calibration
        assert calibration
        assert {figures.kind for figures in calibration.figures} == {"object", "style"}
        edit = stack.client.edits.create(request).wait()
        report = edit.report()
        assert report.features
        assert report.features.sae
        assert report.features.diffc
        assert report.validation, "the judge's CLIP scores"
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
