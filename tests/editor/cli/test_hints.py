"""Hints for mistakes that people make: names that are nearly right, and styles that are named like objects."""

import pytest

from api_schemas.cli.removal_arguments import parse_removal
from api_schemas.errors import UsageError
from api_schemas.suggestions import closest_name, did_you_mean
from editor.cli.common import concept_hint
from editor.emoji.locate import embedded_model_folder
from editor.emoji.profile import PROFILE


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("van gogh style", '"style:van gogh"'),
        ("van gogh style=photograph", '"style:van gogh=photograph"'),
        ("in the style of van gogh", '"style:van gogh"'),
        ("the style of Ink", '"style:Ink"'),
    ],
)
def test_style_written_as_an_object_is_refused_with_the_correct_syntax(text: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_removal(text)
    assert remedy in str(caught.value.remedy)
    assert f'"object:{text}"' in str(caught.value.remedy)


@pytest.mark.parametrize(
    "text", ["object:van gogh style", "style:style of ink", "stylish hat", "style guide", "lifestyle"]
)
def test_names_that_contain_a_style_word_are_accepted(text: str) -> None:
    assert parse_removal(text)


@pytest.mark.parametrize("text", ["fox=", "fox= ", "fox=\t"])
def test_blank_replacement_maps_the_concept_to_the_null_concept(text: str) -> None:
    removal = parse_removal(text)
    assert removal.replacement is None
    assert removal != parse_removal("fox")  # which lets the editor choose


def test_kind_of_a_removal_can_be_explicit() -> None:
    removal = parse_removal("object:van gogh style=a house")
    assert (removal.kind, removal.concept, removal.replacement) == ("object", "van gogh style", "a house")


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("fox, frog=dog face", "comma", '--remove "fox=dog face" --remove "frog=dog face"'),
        ("fox,frog", "comma", '--remove "fox" --remove "frog"'),
        ("fox=dog face, frog=cat", "comma", '--remove "fox=dog face" --remove "frog=cat"'),
        ("style:ink, noto=photograph", "comma", '--remove "style:ink=photograph" --remove "style:noto=photograph"'),
        ("fox, style:ink", "comma", '--remove "fox" --remove "style:ink"'),
        ("fox, frog,", "comma", "sent to the API"),
        ("artist:van gogh", '"artist" is not a kind', '"style:van gogh"'),
        ("artist: van gogh=photograph", '"artist" is not a kind', '"style:van gogh=photograph"'),
        ("Re:Zero", '"Re" is not a kind', '"object:Re:Zero"'),
        ("fox==dog face", 'more than one "="', '"fox=dog face"'),
        ("<|endoftext|>", "special token", "CONCEPT"),
    ],
)
def test_a_malformed_removal_is_refused_with_the_right_spelling(text: str, message: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_removal(text)
    assert message in str(caught.value)
    assert remedy in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("fox", None),
        ("FOX", None),
        ("foxx", 'Did you mean "fox"?'),
        ("ink", 'Did you mean "style:ink"?'),
        ("style:fox", 'Did you mean "object:fox"?'),
        ("style:twemojis", 'Did you mean "twemoji"?'),
        ("an unheard-of thing", None),
    ],
)
def test_a_concept_that_the_profile_does_not_list_gets_a_hint(text: str, hint: str | None) -> None:
    found = concept_hint(parse_removal(text), PROFILE)
    assert found is None if hint is None else hint in str(found)


def test_an_unknown_embedded_model_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        embedded_model_folder("emojii")
    assert caught.value.field == "model"
    assert 'Did you mean "emoji"?' in str(caught.value.remedy)
    assert "--model-dir" in str(caught.value.remedy)


def test_suggestions_ignore_case_and_need_similarity() -> None:
    assert closest_name("SDXL-Base", ["sdxl-base", "emoji"]) == "sdxl-base"
    assert closest_name("flux", ["sdxl-base", "emoji"]) is None
    assert did_you_mean("flux", ["emoji"]) == ""
