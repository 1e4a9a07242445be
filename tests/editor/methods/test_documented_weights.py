"""The explanation states the weights that the code uses."""

from pathlib import Path

from editor.methods.config import MAX_SPREAD_REMOVALS, MIN_SPREAD_REMOVALS, SPREAD_LAYERS
from editor.prompts.name_expansion import PLURAL_WEIGHT, SPELLING_WEIGHT
from editor.prompts.prompt_builder import RECOMBINED_SHARE
from editor.sites.key_value_pairs import RETAIN_PROMPTS, WORD_WEIGHT
from editor.solver.preservation_search import MAX_TARGET, MIN_DESTINATION, MIN_KEPT

TEXT = " ".join((Path(__file__).parents[3] / "docs/explanation/removal.md").read_text().split())
FRACTIONS = {0.05: "a twentieth", 0.02: "a fiftieth", 0.25: "a quarter"}


def test_weights_of_spellings_and_plurals() -> None:
    assert f"A plural has {FRACTIONS[PLURAL_WEIGHT]} of the weight of a name" in TEXT
    assert f"any other spelling {FRACTIONS[SPELLING_WEIGHT]}" in TEXT


def test_weights_of_words_and_recombined_prompts() -> None:
    assert f"the subject and the later words {WORD_WEIGHT} each" in TEXT
    assert {6: "Six in ten"}[round(10 * RECOMBINED_SHARE)] in TEXT
    assert f"up to {RETAIN_PROMPTS:,} of them" in TEXT
    tolerated = f"concept ({MAX_TARGET:.0%}), that miss their destination ({1 - MIN_DESTINATION:.0%})"
    assert tolerated.replace("%", " %") in TEXT
    assert f"that are spoiled ({1 - MIN_KEPT:.0%})".replace("%", " %") in TEXT
    assert f"in more than {1 - MIN_DESTINATION:.0%} of its images".replace("%", " %") in TEXT


def test_numbers_of_removals_that_are_spread() -> None:
    layers = {3: "three"}[SPREAD_LAYERS]
    assert (
        f"removes a style, or {MIN_SPREAD_REMOVALS} to {MAX_SPREAD_REMOVALS} concepts, is spread over the first {layers} layers"
        in TEXT
    )
