"""Unsafe content is recognised by detectors and people by likeness judges, each under the gates of its kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from api_schemas.edits import EditRequest
from api_schemas.edits import Validation as ValidationOptions
from api_schemas.gates import Gate
from editor.errors import DetectorError, JudgeError
from editor.judging.evaluation import gates_for, plan_evaluations
from editor.judging.likeness import LikenessRecogniser
from editor.judging.planned_images import image_specs
from editor.judging.policies import load_policy
from editor.judging.prompt_groups import PromptGroup
from editor.judging.prompt_scores import GeneratedImages
from editor.judging.recognisers import DetectorRecogniser, check_recognisers, removal_recogniser
from editor.judging.verdict import group_score
from editor.prompts import Concept, Destination, ResolvedRemoval
from editor.prompts.concepts import Phrase
from tests.editor.judging.conftest import InstallPlugin

GORE = ResolvedRemoval(Concept("gore", "unsafe"), Destination("", "null"), aliases=("blood",))
ADA = ResolvedRemoval(Concept("Ada Okafor", "person"), Destination("woman", "generic"))
DETECTOR = """
class Planted:
    name, version, sha256 = "planted", "1", "0" * 64
    content = ("Blood", "bloodshed")
    classes, threshold = ("BLOOD",), 0.5

    def detect(self, images):
        return [{"BLOOD"} if image.mean() > 100 else set() for image in images]
"""


class BlindJudge:
    """Finds every image most similar to the first name."""

    short_id = "blind"

    def embed_images(self, images: Sequence[np.ndarray]) -> Tensor:
        return torch.ones(len(images), 1)

    def clip_scores(self, embedded: Tensor, prompts: Sequence[str]) -> Tensor:
        return torch.zeros(len(embedded))

    def classify(self, kind: str, embedded: Tensor, names: Sequence[str]) -> tuple[list[str], Tensor]:
        return [names[0]] * len(embedded), torch.ones(len(embedded), len(names))

    def class_names(self, kind: str, extra: Sequence[str] = ()) -> list[str]:
        return list(dict.fromkeys(extra))


def picture(shade: int) -> np.ndarray:
    return np.full((8, 8, 3), shade, dtype=np.uint8)


def no_references(removal: ResolvedRemoval) -> list[np.ndarray]:
    raise AssertionError("no references are needed")


def test_unsafe_content_is_recognised_by_the_detector_that_knows_one_of_its_names(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin("expunge.detectors", "planted", DETECTOR)
    recogniser = removal_recogniser(GORE, ValidationOptions(), no_references)
    assert isinstance(recogniser, DetectorRecogniser)
    assert recogniser.recognise([picture(200), picture(0)]) == [True, False]
    assert recogniser.id == "planted 1@000000000000"
    assert (recogniser.choices.rule, recogniser.choices.names) == ("detector", ["BLOOD"])
    assert recogniser.choices.threshold == 0.5


def test_unsafe_content_without_a_detector_is_refused_before_any_work() -> None:
    request = EditRequest.model_validate({"removals": [{"concept": "gore", "kind": "unsafe"}]})
    with pytest.raises(DetectorError, match="'gore'") as caught:
        check_recognisers(request)
    assert caught.value.field == "removals"
    assert "nudity" in caught.value.remedy


@pytest.mark.skipif(find_spec("nudenet") is not None, reason="nudenet is installed")
def test_nudity_needs_nudenet_even_if_the_request_does_not_enable_it() -> None:
    request = EditRequest.model_validate({"removals": [{"concept": "Nudity", "kind": "unsafe"}]})
    with pytest.raises(DetectorError) as caught:
        check_recognisers(request)
    assert "expunge[nudenet]" in caught.value.remedy


def test_detections_decide_the_gates_of_unsafe_content(install_plugin: InstallPlugin) -> None:
    """The zero-shot judge would find the concept in every image."""
    install_plugin("expunge.detectors", "planted", DETECTOR)
    phrases = tuple(Phrase("{bare}", "gore", "", f" {i}", verbatim=True) for i in range(4))
    recogniser = removal_recogniser(GORE, ValidationOptions(), no_references)
    assert recogniser is not None
    group = PromptGroup("target", 0, "unsafe", phrases, "gore")
    (evaluation,) = plan_evaluations([group], load_policy("by-kind").gates, 0, {0: recogniser})
    specs = image_specs([evaluation.group], [0])
    shades = ([200] * 4, [200, 0, 0, 0])
    generated = GeneratedImages(*(dict(zip(specs, map(picture, one), strict=True)) for one in shades))
    evaluation.score_batch(BlindJudge(), evaluation.group, generated, [0])  # type: ignore[arg-type]
    score = group_score(evaluation, BlindJudge(), 0.95)  # type: ignore[arg-type]
    assert (score.accuracy_before.value, score.accuracy_after.value) == (1.0, 0.25)
    assert (score.asks, score.judge) == ("unsafe", "planted 1@000000000000")
    assert score.choices is not None
    assert score.choices.rule == "detector"
    assert [gate.threshold for gate in evaluation.gates] == [0.02]


def test_neighbours_are_judged_zero_shot_whatever_recognises_the_concept(install_plugin: InstallPlugin) -> None:
    install_plugin("expunge.detectors", "planted", DETECTOR)
    recogniser = removal_recogniser(GORE, ValidationOptions(), no_references)
    assert recogniser is not None
    near = PromptGroup("neighbours", 0, "object", (Phrase("{a}", "doctor"),), removal_kind="unsafe")
    (evaluation,) = plan_evaluations([near], [], 0, {0: recogniser})
    assert evaluation.recogniser is None


def test_a_gate_of_a_kind_replaces_the_general_one() -> None:
    gates = [
        Gate(measure="target_accuracy", threshold=0.05),
        Gate(measure="target_accuracy", threshold=0.01, kind="person"),
        Gate(measure="neighbour_drop", threshold=0.1),
        Gate(measure="neighbour_drop", threshold=0.2, kind="unsafe"),
    ]
    assert [gate.threshold for gate in gates_for(PromptGroup("target", 0, "person", ()), gates)] == [0.01]
    assert [gate.threshold for gate in gates_for(PromptGroup("target", 0, "object", ()), gates)] == [0.05]
    near = PromptGroup("neighbours", 0, "object", (), removal_kind="unsafe")
    assert [gate.threshold for gate in gates_for(near, gates)] == [0.2]


@dataclass
class Faces:
    """Finds a face in bright images; its direction is that of the first two pixels' values."""

    name: ClassVar[str] = "faces"
    version: str = "1"
    sha256: str = "f" * 64
    threshold: float = 0.9

    def embed_faces(self, images: Sequence[np.ndarray]) -> list[Tensor]:
        return [torch.tensor(image[:2, 0, 0], dtype=torch.float32)[None][: int(image.max() > 0)] for image in images]


def face(first: int, second: int) -> np.ndarray:
    image = picture(0)
    image[:2, 0, 0] = first, second
    return image


def test_a_person_is_recognised_by_the_face_in_images_of_the_base_model() -> None:
    recogniser = LikenessRecogniser(Faces(), [face(100, 10), face(100, 0), face(90, 0), face(80, 5), picture(0)])
    assert recogniser.recognise([face(50, 1), face(0, 50), picture(0)]) == [True, False, False]
    assert (recogniser.choices.rule, recogniser.choices.threshold) == ("likeness", 0.9)


def test_without_faces_in_the_base_model_the_person_is_never_recognised() -> None:
    recogniser = LikenessRecogniser(Faces(), [picture(0)] * 20)
    assert recogniser.recognise([face(50, 1)]) == [False]


def test_an_unknown_likeness_judge_is_refused_before_any_work() -> None:
    request: Any = {"removals": [{"concept": "Ada Okafor", "kind": "person"}], "validation": {"likeness": "faces"}}
    with pytest.raises(JudgeError, match="'faces'") as caught:
        check_recognisers(EditRequest.model_validate(request))
    assert caught.value.field == "validation.likeness"


def test_a_person_is_recognised_by_name_unless_a_likeness_judge_is_requested(install_plugin: InstallPlugin) -> None:
    assert removal_recogniser(ADA, ValidationOptions(), no_references) is None
    source = "from tests.editor.judging.test_recognisers import Faces as Planted\n"
    install_plugin("expunge.likeness", "faces", source)
    found = removal_recogniser(ADA, ValidationOptions(likeness="faces"), lambda removal: [face(9, 0)] * 4)
    assert isinstance(found, LikenessRecogniser)
