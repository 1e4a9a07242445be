"""Roles of T5's tokens, whose prompts differ in one place."""

import pytest

from editor.sites.sequence_states import align_endless, align_pieces

END = 1


@pytest.mark.parametrize(
    ("concept", "destination", "subject"),
    [
        ([5, 7, 8, END], [5, 9, 8, END], [(1, 1)]),
        ([5, 7, 7, 8, END], [5, 9, 8, END], [(1, 1), (2, 1)]),  # two pieces become one
        ([5, 7, 8, END], [5, 9, 9, 8, END], [(1, 2)]),  # one piece becomes two: the last one counts
        ([7, 8, END], [8, END], [(0, 1)]),  # nothing takes the subject's place
    ],
)
def test_subject_is_aligned_from_its_last_piece(
    concept: list[int], destination: list[int], subject: list[tuple[int, int]]
) -> None:
    assert align_pieces(concept, destination)["subject"] == subject


def test_other_words_and_end_are_aligned_with_themselves() -> None:
    roles = align_pieces([5, 7, 7, 8, 6, END], [5, 9, 8, 6, END])
    assert roles["trailing"] == [(0, 0), (3, 2), (4, 3)]
    assert roles["eos"] == [(5, 4)]


@pytest.mark.parametrize(
    ("concept", "destination", "subject"),
    [
        ([5, 7, 8], [5, 9, 8], [(1, 1)]),
        ([5, 8, 7], [5, 8, 9], [(2, 2)]),
        ([5, 8, 7], [5, 8], [(2, 1)]),  # nothing takes the subject's place: the last word does
    ],
)
def test_without_an_end_the_last_token_takes_its_part(
    concept: list[int], destination: list[int], subject: list[tuple[int, int]]
) -> None:
    roles = align_endless(concept, destination)
    assert roles["subject"] == subject
    assert "eos" not in roles
