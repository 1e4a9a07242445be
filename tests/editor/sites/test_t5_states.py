"""Roles of T5's tokens, whose prompts differ in one place."""

import pytest

from editor.sites.t5_states import align_pieces

END = 1
PADDING = (2, 6, 9)


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
    assert align_pieces(concept, destination, PADDING)["subject"] == subject


def test_other_words_and_end_are_aligned_with_themselves() -> None:
    roles = align_pieces([5, 7, 7, 8, 6, END], [5, 9, 8, 6, END], PADDING)
    assert roles["trailing"] == [(0, 0), (3, 2), (4, 3)]
    assert roles["eos"] == [(5, 4)]
    assert roles["padding"] == [(6, 6), (9, 9)]
