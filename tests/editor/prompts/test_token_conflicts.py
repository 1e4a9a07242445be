"""Conflicts between names that end in the same token."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.conflicts import LabelledRemoval
from api_schemas.edits import Removal
from editor.prompts.profile import general_profile
from editor.prompts.token_conflicts import find_conflicts, label_removal


def label_removals(*removals: dict[str, Any]) -> list[LabelledRemoval]:
    return [LabelledRemoval(f"request-{i}", Removal.model_validate(removal)) for i, removal in enumerate(removals)]


def shared_token_conflicts(clip: Any, *removals: dict[str, Any]) -> list[tuple[str, str]]:
    conflicts = find_conflicts(label_removals(*removals), clip)
    return [(c.left.name, c.right.name) for c in conflicts if c.kind == "shared_token"]


def test_preserved_name_with_the_same_last_token_is_a_conflict(clip: Any) -> None:
    assert shared_token_conflicts(clip, {"concept": "mickey mouse", "preserve": ["mouse", "duck"]}) == [
        ("mickey mouse", "mouse")
    ]


def test_replacement_with_the_same_last_token_is_a_conflict(clip: Any) -> None:
    assert shared_token_conflicts(clip, {"concept": "fox", "replacement": "arctic fox"}) == [("fox", "arctic fox")]
    assert shared_token_conflicts(clip, {"concept": "grumpy cat", "generic": "cat"}) == [("grumpy cat", "cat")]


def test_class_that_auto_stands_for_is_compared(clip: Any) -> None:
    removal = Removal(concept="golden retriever", generic="auto")
    groups = {"objects": {"dogs": ("golden retriever",)}, "parents": {"dogs": "dog"}}
    profile = general_profile().model_copy(update=groups)
    others = [LabelledRemoval("dogs", Removal(concept="dog")), LabelledRemoval("cars", Removal(concept="auto"))]
    for known, expected in ((profile, [("dog", "dog")]), (None, [])):
        found = find_conflicts([label_removal("one", removal, known), *others], clip)
        assert [(c.left.name, c.right.name) for c in found if c.kind == "replacement_removed"] == expected


def test_removals_with_the_same_last_token_conflict_unless_destinations_are_equal(clip: Any) -> None:
    one, other = {"concept": "mickey mouse", "replacement": "duck"}, {"concept": "mighty mouse", "replacement": "duck"}
    assert shared_token_conflicts(clip, one, other) == []
    assert shared_token_conflicts(clip, one, other | {"replacement": "cow"}) == [("mickey mouse", "mighty mouse")]


def test_equal_names_are_not_a_token_conflict(clip: Any) -> None:
    conflicts = find_conflicts(label_removals({"concept": "fox"}, {"concept": "cat", "preserve": ["fox"]}), clip)
    assert [(c.kind, c.severity) for c in conflicts] == [("preserve_removed", "error")]


def test_short_tokens_cause_no_warning(clip: Any) -> None:
    ends = [clip.convert_ids_to_tokens(clip(name)["input_ids"][-2]) for name in ("pikachuu", "zuuu")]
    assert ends[0] == ends[1], "the case is one"
    assert shared_token_conflicts(clip, {"concept": "pikachuu", "preserve": ["zuuu"]}) == []


def test_number_of_warnings_is_linear(clip: Any) -> None:
    crowd = [
        {"concept": f"mouse{i} mouse", "replacement": f"thing{i}", "preserve": [f"kept{i} mouse"]} for i in range(50)
    ]
    assert 50 <= len(shared_token_conflicts(clip, *crowd)) <= 200


names = st.sampled_from(["fox", "red fox", "mouse", "mickey mouse", "hot dog", "dog", "top hat", "hat"])
removals = st.fixed_dictionaries({"concept": names, "preserve": st.lists(names, max_size=2)})


@settings(deadline=None, max_examples=40)
@given(removals=st.lists(removals, max_size=5), data=st.data())
def test_result_does_not_depend_on_order(clip: Any, removals: list[dict[str, Any]], data: st.DataObject) -> None:
    given = label_removals(*removals)
    assert find_conflicts(given, clip) == find_conflicts(data.draw(st.permutations(given)), clip)


@settings(deadline=None, max_examples=20)
@given(given=st.permutations(["zebra", "guitar", "castle", "violin", "umbrella", "pizza", "rocket", "owl"]))
def test_names_without_common_tokens_do_not_conflict(clip: Any, given: list[str]) -> None:
    pairs = zip(given[::2], given[1::2], strict=True)
    assert find_conflicts(label_removals(*({"concept": a, "replacement": b} for a, b in pairs)), clip) == []
