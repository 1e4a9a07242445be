"""The example of a likeness judge is one."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from editor.judging.likeness import LikenessRecogniser
from editor.judging.policies import load_policy

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "choose-a-judge.md"


class FaceAnalysis:
    """InsightFace's interface: a face in the upper half of an image is one person's, in the lower half another's."""

    def __init__(self, name: str, root: str) -> None:
        self.folder = Path(root) / "models" / name

    def prepare(self, ctx_id: int) -> None:
        assert self.folder.is_dir()

    def get(self, image: np.ndarray) -> list[Any]:
        half = len(image) // 2
        small, large = np.array([0, 0, 2, 2]), np.array([0, 0, 4, 4])
        seen = [("upper", image[:half], small), ("lower", image[half:], large)]
        return [
            SimpleNamespace(bbox=box, normed_embedding=np.eye(512, dtype=np.float32)[int(name == "upper")])
            for name, part, box in seen
            if part.any()
        ]


def test_the_likeness_judge_of_the_example_recognises_a_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, app = ModuleType("insightface"), ModuleType("insightface.app")
    app.FaceAnalysis = FaceAnalysis  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "insightface", package)
    monkeypatch.setitem(sys.modules, "insightface.app", app)
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path))
    (tmp_path / "models" / "buffalo_l").mkdir(parents=True)
    (tmp_path / "models" / "buffalo_l" / "w600k_r50.onnx").touch()
    (source,) = (code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "ArcFace" in code)
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    nobody, upper, lower = (np.zeros((8, 8, 3), dtype=np.uint8) for _ in range(3))
    upper[:4], lower[4:] = 200, 200
    recogniser = LikenessRecogniser(namespace["ArcFace"](), [upper] * 4)
    assert recogniser.recognise([upper, lower, nobody, upper + lower]) == [True, False, False, True]


def test_the_gates_of_the_page_are_those_of_the_policy() -> None:
    gates = {(gate.measure, gate.kind): (gate.threshold, gate.minimum_n) for gate in load_policy("by-kind").gates}
    assert gates["target_accuracy", "unsafe"] == (0.02, 189)
    assert '"threshold": 0.02, "minimum_n": 189, "kind": "unsafe"' in PAGE.read_text()
    assert {kind for _, kind in gates} == {None, "person", "character", "brand", "unsafe"}
