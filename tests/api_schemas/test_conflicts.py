"""Conflicts between removals: planted ones are found in any order, and disjoint vocabularies have none."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.conflicts import LabelledRemoval, find_name_conflicts, normalize_words
from api_schemas.edits import Removal

WORDS = [
    "fox",
    "red fox",
    "Fox",
    "the fox",
    "dog",
    "dog face",
    "hot dog",
    "hot-dog",
    "mouse",
    "ink",
    "café",
    "cafe\u0301",
]


def labelled_removals(*removals: dict[str, Any], pins: Sequence[str] = ()) -> list[LabelledRemoval]:
    return [
        LabelledRemoval(f"request-{i}", Removal.model_validate(removal), tuple(pins if i == 0 else ()))
        for i, removal in enumerate(removals)
    ]


def conflict_kinds(*removals: dict[str, Any], pins: Sequence[str] = ()) -> list[tuple[str, str]]:
    return [(c.severity, c.kind) for c in find_name_conflicts(labelled_removals(*removals, pins=pins))]


@pytest.mark.parametrize(
    ("removals", "expected"),
    [
        ([{"concept": "fox", "replacement": "Dog"}, {"concept": "dog"}], ("error", "replacement_removed")),
        (
            [{"concept": "fox", "generic": "dog"}, {"concept": "cat", "aliases": ["dog"]}],
            ("error", "replacement_removed"),
        ),
        ([{"concept": "fox", "replacement": "vixen", "aliases": ["vixen"]}], ("error", "replacement_removed")),
        (
            [{"concept": "fox", "replacement": "dog"}, {"concept": "Fox", "replacement": "cat"}],
            ("error", "two_replacements"),
        ),
        ([{"concept": "fox", "replacement": "dog"}, {"concept": "cat", "aliases": ["FOX"]}], ("error", "duplicate")),
        ([{"concept": "fox"}, {"concept": "vixen", "translations": {"en": ["the fox"]}}], ("warning", "duplicate")),
        ([{"concept": "fox"}, {"concept": "cat", "preserve": ["a fox"]}], ("error", "preserve_removed")),
        ([{"concept": "hot-dog"}, {"concept": "cat", "preserve": ["hot dog"]}], ("error", "preserve_removed")),
        ([{"concept": "mouse"}, {"concept": "cat", "preserve": ["mickey mouse"]}], ("warning", "homonym")),
        ([{"concept": "ink"}, {"concept": "ink", "kind": "style"}], ("warning", "homonym")),
        ([{"concept": "fire"}, {"concept": "fire engine", "replacement": "car"}], ("warning", "homonym")),
    ],
)
def test_each_conflict_kind_is_found(removals: list[dict[str, Any]], expected: tuple[str, str]) -> None:
    assert conflict_kinds(*removals) == [expected]


def test_cycles_are_distinguished_from_chains() -> None:
    ring = [{"concept": a, "replacement": b} for a, b in ("ab", "bc", "ca")]
    assert conflict_kinds(*ring) == [("error", "cycle")] * 3
    assert conflict_kinds(*ring, {"concept": "d", "replacement": "a"}) == [("error", "cycle")] * 3 + [
        ("error", "replacement_removed")
    ]


def test_pinned_prompt_must_not_name_a_removed_concept() -> None:
    removals = labelled_removals(
        {"concept": "fox"}, {"concept": "ink", "kind": "style"}, pins=["a red FOX", "a dog", "an inkwell"]
    )
    (conflict,) = find_name_conflicts(removals)
    assert (conflict.kind, conflict.left.label, conflict.right.field) == ("pin_removed", "request-0", "options.pins[0]")


def test_message_names_both_parties() -> None:
    (conflict,) = find_name_conflicts(
        labelled_removals({"concept": "fox", "replacement": "dog"}, {"concept": "cat", "aliases": ["dog"]})
    )
    assert (conflict.left.label, conflict.left.field, conflict.left.name) == ("request-0", "replacement", "dog")
    assert (conflict.right.label, conflict.right.field, conflict.right.name) == ("request-1", "aliases[0]", "dog")
    assert all(str(party) in conflict.message for party in (conflict.left, conflict.right))
    assert conflict.remedy


def test_unused_parent_class_is_not_a_conflict() -> None:
    assert conflict_kinds({"concept": "fox", "replacement": "cat", "generic": "dog"}, {"concept": "dog"}) == []


removals = st.builds(
    lambda concept, replacement, aliases, preserve, kind: {
        "concept": concept,
        "replacement": replacement if normalize_words(replacement) != normalize_words(concept) else None,
        "aliases": aliases,
        "preserve": preserve,
        "kind": kind,
    },
    st.sampled_from(WORDS),
    st.sampled_from(WORDS),
    st.lists(st.sampled_from(WORDS), max_size=2),
    st.lists(st.sampled_from(WORDS), max_size=2),
    st.sampled_from(["object", "style"]),
)


@settings(deadline=None)
@given(given=st.lists(removals, max_size=6), data=st.data())
def test_conflicts_do_not_depend_on_order(given: list[dict[str, Any]], data: st.DataObject) -> None:
    removals = labelled_removals(*given)
    shuffled = data.draw(st.permutations(removals))
    assert find_name_conflicts(removals) == find_name_conflicts(shuffled)


@settings(deadline=None)
@given(given=st.lists(removals, max_size=5))
def test_adding_removals_keeps_existing_conflicts(given: list[dict[str, Any]]) -> None:
    def is_rejected(removals: list[dict[str, Any]]) -> bool:
        return any(conflict.severity == "error" for conflict in find_name_conflicts(labelled_removals(*removals)))

    assert is_rejected(given) >= is_rejected(given[:-1])


def large_request(count: int) -> list[LabelledRemoval]:
    return labelled_removals(
        *(
            {
                "concept": f"thing{i} number{i}",
                "replacement": f"other{i}",
                "aliases": [f"alias{i}"],
                "preserve": [f"kept{i}"],
            }
            for i in range(count)
        )
    )


def test_disjoint_vocabularies_have_no_conflicts() -> None:
    assert find_name_conflicts(large_request(200)) == []


def test_time_is_linear_in_the_number_of_removals() -> None:
    def run_time(removals: list[LabelledRemoval]) -> float:
        start = time.process_time()
        find_name_conflicts(removals)
        return time.process_time() - start

    few, many = large_request(500), large_request(4000)
    assert min(run_time(many) for _ in range(3)) < 24 * min(run_time(few) for _ in range(3))


def test_names_are_normalized_before_comparison() -> None:
    assert normalize_words("The Hot-Dog") == normalize_words("hot dog")
    assert normalize_words("cafe\u0301") == normalize_words("CAF\u00c9")
    assert normalize_words("C++") != normalize_words("C")
    assert normalize_words("★") == ("★",)
    assert normalize_words("the") == ("the",)


@pytest.mark.parametrize(
    ("name", "mixed"),
    [
        ("f\N{CYRILLIC SMALL LETTER O}x", "Cyrillic and Latin"),
        ("red f\N{GREEK SMALL LETTER OMICRON}x", "Greek and Latin"),
        (
            "\N{CYRILLIC SMALL LETTER EF}\N{CYRILLIC SMALL LETTER O}\N{CYRILLIC SMALL LETTER KA}\N{CYRILLIC SMALL LETTER ES}",
            "",
        ),
        ("café", ""),
        ("fox \N{CYRILLIC SMALL LETTER O}", ""),
        ("ファン fan", ""),
        ("C-3PO", ""),
    ],
)
def test_word_in_several_scripts_is_a_warning(name: str, mixed: str) -> None:
    conflicts = find_name_conflicts(labelled_removals({"concept": name}))
    assert [(c.severity, c.kind) for c in conflicts] == ([("warning", "mixed_scripts")] if mixed else [])
    assert all(mixed in conflict.message for conflict in conflicts)


def test_a_person_and_an_object_of_one_name_are_one_concept() -> None:
    removals = [Removal(concept="Ada Okafor", kind="person"), Removal(concept="ada okafor", replacement="woman")]
    labelled = [LabelledRemoval(str(index), removal) for index, removal in enumerate(removals)]
    (conflict,) = find_name_conflicts(labelled)
    assert (conflict.kind, conflict.severity) == ("two_replacements", "error")
