"""The technique, through the harness's loader and runner if that is installed, and through its protocol."""

import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api_schemas.errors import UsageError
from editor import emoji
from editor.generation.pipelines import load_pipeline
from editor.integrations.eval_unlearn import Config, ExpungeTechnique, solve_updates
from editor.publishing.delta import write_delta

FAST = {"num_inference_steps": 2, "guidance_scale": 3.0}
FOX = {"erase_concept": "fox", "replacement": "dog face", **FAST}


@pytest.fixture(scope="module")
def technique() -> ExpungeTechnique:
    return ExpungeTechnique(**FOX, some_key_of_another_technique=1)


def pixels(image: Any) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_entry_point_loads_the_technique() -> None:
    (entry,) = entry_points(group="eval_unlearn.techniques", name="expunge")
    assert entry.load() is ExpungeTechnique


def test_listing_techniques_imports_nothing_heavy() -> None:
    code = (
        "import sys, editor.integrations.eval_unlearn; sys.exit(any(m in sys.modules for m in ('torch', 'diffusers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_each_image_has_its_own_seed(technique: ExpungeTechnique) -> None:
    first, second = technique.generate(["a pizza", "a pizza"], seed=4)
    (again,) = technique.generate(["a pizza"], seed=5)
    assert np.abs(pixels(first) - pixels(second)).max() > 8
    assert np.abs(pixels(second) - pixels(again)).max() <= 1


def test_edit_changes_the_concept_only(technique: ExpungeTechnique) -> None:
    base, prompt = load_pipeline(emoji.WEIGHTS), "a fox"

    def states(pipeline: Any) -> Any:
        ids = pipeline.tokenizer([prompt, "a pizza"], padding="max_length", return_tensors="pt")["input_ids"]
        return pipeline.text_encoder(ids).last_hidden_state.detach()

    moved = (states(technique.pipeline) - states(base)).flatten(1).norm(dim=1)
    assert moved[0] > 5 * moved[1] > 0


def test_published_edit_gives_the_same_images(technique: ExpungeTechnique, tmp_path: Path) -> None:
    delta = tmp_path / "delta.safetensors"
    write_delta(solve_updates(emoji.WEIGHTS, technique.config), emoji.WEIGHTS, delta)
    other = ExpungeTechnique(delta=str(delta), **FAST)
    same = zip(technique.generate(["a fox"], seed=0), other.generate(["a fox"], seed=0), strict=True)
    assert all(np.abs(pixels(a) - pixels(b)).max() <= 2 for a, b in same)


@pytest.mark.parametrize("given", [{}, {"erase_concept": "fox", "delta": "x"}])
def test_exactly_one_source_of_the_edit_is_required(given: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="either"):
        Config(**given)  # type: ignore[arg-type]


@pytest.mark.skipif(not find_spec("eval_unlearn"), reason="eval-unlearn is not installed")
def test_harness_runner_runs_the_technique(tmp_path: Path) -> None:
    from eval_unlearn.registry import register_metric
    from eval_unlearn.runners import SingleBenchmarkRunner
    from eval_unlearn.types import Dataset, MetricResult

    class Brightness:
        """A metric by the harness's rules that needs nothing from a hub."""

        def __init__(self, **_: Any) -> None:
            self.values: list[float] = []

        def load_dataset(self) -> list[Any]:
            return [Dataset(["a fox", "a pizza"], {"source": "planted"}), Dataset(["a fox"], {"source": "planted"})]

        def update(self, images: list[Any], prompts: list[str], metadata: Any) -> None:
            assert len(images) == len(prompts)
            self.values += [float(np.asarray(image).mean()) for image in images]

        def compute(self) -> Any:
            return MetricResult("brightness", float(np.mean(self.values)), {"images": len(self.values)})

    register_metric("planted_brightness")(Brightness)
    report = SingleBenchmarkRunner("expunge", "planted_brightness", FOX, {}, str(tmp_path), seed=0).run()
    assert report["technique_name"] == "expunge"
    assert report["erase_concept"] == "fox"
    assert report["metric_result"]["details"] == {"images": 3}
    assert len(list(tmp_path.rglob("*.png"))) == 3
