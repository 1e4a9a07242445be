from itertools import permutations

from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval, align_tokens
from editor.prompts.composition import compose_removals
from editor.prompts.concepts import Substitution

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
KEY = ResolvedRemoval(Concept("key"), Destination("", "null"))
INK = ResolvedRemoval(Concept("ink", "style"), Destination("twemoji", "generic"))
TWEMOJI = ResolvedRemoval(Concept("twemoji", "style"), Destination("openmoji", "generic"))


def destinations(builder: PromptBuilder, removals: list[ResolvedRemoval]) -> dict[str, str]:
    """Return prompt -> destination of all removals; fails if two destinations contradict each other."""
    found: dict[str, str] = {}
    for removal in compose_removals(removals, builder):
        for pair in builder.edit_pairs(removal):
            assert found.setdefault(pair.concept.text, pair.destination.text) == pair.destination.text
    return found


def test_a_prompt_that_names_two_removed_concepts_has_one_destination(builder: PromptBuilder) -> None:
    found = destinations(builder, [FOX, INK])
    assert found["a fox, ink"] == "a dog face, twemoji"
    styled = [text for text in found if "fox" in text.split() and "noto" in text]
    assert styled
    assert all(found[text] == text.replace("fox", "dog face") for text in styled)
    assert not any("fox" in text or "ink" in text.split() for text in found.values())


def test_a_destination_that_is_removed_is_followed(builder: PromptBuilder) -> None:
    found = destinations(builder, [FOX, INK, TWEMOJI])
    assert found["a fox, ink"] == "a dog face, openmoji"
    assert not any("twemoji" in text for text in found.values())


def test_only_removals_that_mention_another_depend_on_it(builder: PromptBuilder) -> None:
    alone = {removal.concept.name: removal for removal in compose_removals([FOX], builder)}
    together = [compose_removals(order, builder) for order in permutations([FOX, KEY, INK])]
    assert len({frozenset(removals) for removals in together}) == 1
    composed = {removal.concept.name: removal for removal in together[0]}
    assert composed["ink"].composed == (Substitution("fox", "dog face"), Substitution("key", ""))
    assert composed["fox"].composed == (Substitution("ink", "twemoji"),)
    assert alone["fox"] == FOX == compose_removals([FOX, KEY], builder)[0]


def test_a_null_object_leaves_its_style_and_surroundings(builder: PromptBuilder) -> None:
    found = destinations(builder, [KEY])
    assert found["a key"] == ""
    styled = {found[text] for text in found if "key" in text.split() and "noto" in text}
    assert styled
    assert all(text.startswith("in the style of noto") for text in styled)
    assert any(text.endswith(" background") for text in styled)


def test_both_substituted_names_are_aligned(builder: PromptBuilder) -> None:
    text, destination = (
        "a fox in the style of ink on a blue background",
        "a dog face in the style of noto on a blue background",
    )
    tokens = builder.tokenizer.convert_ids_to_tokens
    left, right = (tokens(builder.tokenizer(side)["input_ids"]) for side in (text, destination))
    pair = builder.make_pair("fox", text, destination)
    aligned = {left[one.key]: right[one.value] for one in align_tokens(pair) if one.role != "padding"}
    (last,) = {left[i - 1] for i, token in enumerate(left) if token == "on</w>"}
    assert aligned[last] == right[right.index("on</w>") - 1]
    assert aligned["x</w>"] == "face</w>"
    assert aligned["style</w>"] == "style</w>"
    assert aligned["blue</w>"] == "blue</w>"
