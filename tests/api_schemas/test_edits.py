"""Validation of edit requests, and of the command line's removal arguments."""

import pytest
from pydantic import ValidationError

from api_schemas.cli.removal_arguments import RemovalOptions, build_request, parse_removal
from api_schemas.edits import EditOptions, EditRequest, Removal
from api_schemas.errors import UsageError
from api_schemas.problems import invalid_fields
from api_schemas.report import SolveRecord


def request(*removals: dict[str, object], **fields: object) -> EditRequest:
    return EditRequest.model_validate({"removals": list(removals) or [{"concept": "fox"}], **fields})


def validation_errors(*removals: dict[str, object], **fields: object) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        request(*removals, **fields)
    return [(field.field, field.code) for field in invalid_fields(caught.value.errors())]


def test_defaults_match_the_documentation() -> None:
    defaults = request()
    assert defaults.model == "emoji"
    assert (defaults.options.method, defaults.options.preservation) == ("default", "auto")
    assert (defaults.validation.seeds, defaults.validation.steps, defaults.validation.guidance) == (1, None, None)
    thresholds = defaults.validation.thresholds
    assert (thresholds.target_accuracy, thresholds.retain_drop, thresholds.confidence) == (0.05, 0.03, 0.95)


def test_phrases_are_normalized() -> None:
    removal = Removal(concept="  red\t fox ", aliases=["cafe\N{COMBINING ACUTE ACCENT}"])
    assert (removal.concept, removal.aliases) == ("red fox", ["caf\N{LATIN SMALL LETTER E WITH ACUTE}"])


@pytest.mark.parametrize(
    "name",
    [
        "fo\u200bx",
        "\ufefffox",
        "\u202efox",
        "fo\u00adx",
        "\uff46\uff4f\uff58",
        "\u2800fox",
        "fox\ufe0f",
        "fo\U000e0041x",
    ],
)
def test_names_that_look_equal_are_equal(name: str) -> None:
    assert Removal(concept=name).concept == "fox"
    assert request({"concept": name}).digest() == request().digest()


@pytest.mark.parametrize("name", ["caf\u00e9", "\u72d0\u72f8", "\u041b\u0438\u0441", "\ub2e4", "fox \U0001f98a", "C++"])
def test_accents_and_scripts_are_kept(name: str) -> None:
    assert Removal(concept=name).concept == name


def test_normalized_name_is_stable() -> None:
    once = Removal(concept="e\u034f\u0301 \u00bd \uff86\uff70").concept
    assert once == "\u00e9 1\u20442 \u30cb\u30fc"
    assert Removal(concept=once).concept == once


@pytest.mark.parametrize("name", ["\u200b", "\ufeff \u200d", "\u3164", "\u2800", "\u0301", "\ue000"])
def test_invisible_name_is_rejected(name: str) -> None:
    assert validation_errors({"concept": name}) == [("removals[0].concept", "invisible")]


def test_name_that_normalization_makes_too_long_is_rejected() -> None:
    assert validation_errors({"concept": "\ufdfa" * 12}) == [("removals[0].concept", "expanded_name")]


def test_special_token_in_full_width_letters_is_rejected() -> None:
    name = "\uff1c\uff5cendoftext\uff5c\uff1e"
    assert validation_errors({"concept": name}) == [("removals[0].concept", "special_token")]


def test_pinned_prompt_keeps_its_characters() -> None:
    assert request(options={"pins": ["\uff46 \u00bd"]}).options.pins == ["\uff46 \u00bd"]


def test_names_in_a_request_may_have_punctuation_and_added_tokens() -> None:
    for name in ("fox, frog", "artist:van gogh", "a=b", "<my-cat>", "|x|"):
        assert Removal(concept=name).concept == name


def test_object_and_style_may_share_a_name() -> None:
    assert len(request({"concept": "ink"}, {"concept": "ink", "kind": "style"}).removals) == 2


def test_contradictions_are_rejected() -> None:
    chain = [{"concept": "fox", "replacement": "Dog"}, {"concept": "dog"}]
    assert validation_errors(*chain) == [("removals", "contradiction")]
    assert validation_errors({"concept": "fox"}, {"concept": "cat", "preserve": ["fox"]}) == [
        ("removals", "contradiction")
    ]


def test_pinned_prompt_with_a_removed_concept_is_rejected() -> None:
    pinned = {"pins": ["an owl", "a red Fox at night"]}
    assert validation_errors({"concept": "fox"}, options=pinned) == [("options", "contradiction")]
    assert request({"concept": "cat"}, options=pinned).options.pins == pinned["pins"]


def test_warnings_are_accepted() -> None:
    assert request({"concept": "fire"}, {"concept": "fire engine"}, {"concept": "cat", "preserve": ["fire place"]})


@pytest.mark.parametrize(
    ("field", "value", "where", "code"),
    [
        ("spellings", "none", "spellings", "literal_error"),
        ("spellings", 3, "spellings", "list_type"),
        ("spellings", [""], "spellings[0]", "string_too_short"),
        ("spellings", ["x"] * 51, "spellings", "too_long"),
        ("titles", ["x"] * 51, "titles", "too_long"),
        ("translations", {"french": ["renard"]}, "translations.french", "string_pattern_mismatch"),
        ("translations", {"fr": []}, "translations.fr", "too_short"),
        ("translations", {"fr": ["\x07"]}, "translations.fr[0]", "control_character"),
        ("exclude", ["x"] * 201, "exclude", "too_long"),
        ("concept", "<|endoftext|>", "concept", "special_token"),
        ("replacement", "a <|startoftext|> dog", "replacement", "special_token"),
        ("aliases", ["<|endoftext|>"], "aliases[0]", "special_token"),
    ],
)
def test_rejected_names_are_located(field: str, value: object, where: str, code: str) -> None:
    assert validation_errors({"concept": "fox", field: value}) == [(f"removals[0].{where}", code)]


@pytest.mark.parametrize("spellings", ["auto", [], ["foxx"]])
def test_spellings_are_auto_or_a_list(spellings: object) -> None:
    asked = request({"concept": "fox", "spellings": spellings})
    assert asked.removals[0].spellings == spellings
    assert EditRequest.model_validate_json(asked.model_dump_json()) == asked


def test_phrases_have_their_location() -> None:
    removal = Removal(concept="a", aliases=["b"], titles=["c"], translations={"fr": ["d", "e"]}, spellings=["f"])
    assert removal.phrases() == [
        (("concept",), "a"),
        (("aliases", 0), "b"),
        (("titles", 0), "c"),
        (("translations", "fr", 0), "d"),
        (("translations", "fr", 1), "e"),
        (("spellings", 0), "f"),
    ]


@pytest.mark.parametrize("value", [0, -1, True, "lots", float("inf"), float("nan"), None])
def test_preservation_is_auto_or_positive(value: object) -> None:
    assert validation_errors(options={"preservation": value}) == [("options.preservation", "preservation")]


def test_metadata_key_is_the_error_location() -> None:
    ((field, _),) = validation_errors(metadata={"k" * 65: "v"})
    assert field == "metadata." + "k" * 65


def test_digest_is_independent_of_formatting() -> None:
    assert request(seed=0).digest() == request({"concept": " fox"}).digest()
    assert request(seed=1).digest() != request().digest()
    assert request().digest().startswith("sha256:")


@pytest.mark.parametrize(
    ("text", "kind", "concept", "replacement"),
    [
        ("fox", "object", "fox", "auto"),
        ("fox=", "object", "fox", None),
        ("fox= ", "object", "fox", None),
        ("fox=dog face", "object", "fox", "dog face"),
        ("style:ink=noto", "style", "ink", "noto"),
        ("object:style", "object", "style", "auto"),
        ("object:a:b", "object", "a:b", "auto"),
        ("fox=a:b", "object", "fox", "a:b"),
        ("fox=dog, sitting", "object", "fox", "dog, sitting"),
        ("STYLE:ink=noto", "style", "ink", "noto"),
        ("Object : fox", "object", "fox", "auto"),
        ("person:Ada Okafor=woman", "person", "Ada Okafor", "woman"),
        ("unsafe:nudity", "unsafe", "nudity", "auto"),
    ],
)
def test_parse_removal_arguments(text: str, kind: str, concept: str, replacement: str | None) -> None:
    removal = parse_removal(text)
    assert (removal.kind, removal.concept, removal.replacement) == (kind, concept, replacement)


@pytest.mark.parametrize("text", ["", "=x", "fox==x", "a=b=c", "fox=fox", "style:"])
def test_invalid_removal_argument_explains_the_syntax(text: str) -> None:
    with pytest.raises(UsageError, match="CONCEPT"):
        parse_removal(text)


def test_build_request_from_options() -> None:
    built = build_request(["fox", "style:ink"], RemovalOptions(preserve=["wolf"]), seed=3)
    assert [removal.preserve for removal in built.removals] == [["wolf"], ["wolf"]]
    assert built.seed == 3
    with pytest.raises(UsageError, match="seed"):
        build_request(["fox"], seed=-1)


def test_name_options_apply_to_their_removal() -> None:
    options = RemovalOptions(
        exclude=["foxes"],
        aliases=["Fox=vixen", "style:fox=red hand"],
        titles=["ink = starry night"],
        translations=["style:ink=fr:encre", "style:ink=fr:a=b"],
        spellings=["ink=inc"],
    )
    fox, style, ink = build_request(["fox", "style:fox", "style:ink"], options).removals
    assert (fox.aliases, style.aliases) == (["vixen"], ["red hand"])
    assert (ink.titles, ink.translations) == (["starry night"], {"fr": ["encre", "a=b"]})
    assert [removal.spellings for removal in (fox, style, ink)] == ["auto", "auto", ["inc"]]
    assert [removal.exclude for removal in (fox, style, ink)] == [["foxes"]] * 3
    assert build_request(["fox"], RemovalOptions(no_spellings=True)).removals[0].spellings == []


@pytest.mark.parametrize("text", ["owl=vixen", "fox", "fox=", "=vixen", "style:fox=x"])
def test_name_option_for_unknown_removal_is_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="fox=vixen") as caught:
        build_request(["fox"], RemovalOptions(aliases=[text]))
    assert caught.value.field == "aliases"
    with pytest.raises(UsageError, match="translations"):
        build_request(["fox"], RemovalOptions(translations=["fox=renard"]))


@pytest.mark.parametrize(
    ("size", "field", "code"),
    [
        ({"height": 512}, "validation.width", "incomplete_size"),
        ({"width": 512}, "validation.width", "incomplete_size"),
        ({"height": 500, "width": 512}, "validation.height", "multiple_of"),
        ({"height": 32, "width": 512}, "validation.height", "greater_than_equal"),
    ],
)
def test_size_of_the_images_is_checked(size: dict[str, int], field: str, code: str) -> None:
    assert (field, code) in validation_errors(validation=size)
    assert request(validation={"height": 768, "width": 1344}).validation.height == 768


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"method": "uce", "preservation": 3.0}, "options.preservation"),
        ({"method": "uce", "aim": "residual"}, "options.aim"),
        ({"method": "uce", "pins": ["an owl"]}, "options.pins"),
        ({"method": "diff_quickfix", "sites": ["cross_attention"]}, "options.sites"),
        ({"method": "diff_quickfix", "sites": "all"}, "options.sites"),
    ],
)
def test_options_that_a_method_ignores_are_rejected(options: dict[str, object], field: str) -> None:
    assert validation_errors(options=options) == [(field, "method_option")]


def test_methods_accept_the_options_that_they_use() -> None:
    assert request(options={"method": "uce", "sites": "all"}).options.sites == "all"
    assert request(options={"method": "diff_quickfix", "sites": [0, 1]}).options.layers == [0, 1]


def test_options_of_earlier_versions_are_read() -> None:
    assert EditOptions.model_validate_json('{"preset": "paper", "sites": "auto"}').method == "diff_quickfix"
    assert request(options={"preset": "default", "pins": ["an owl"]}) == request(options={"pins": ["an owl"]})


def test_solves_in_reports_of_earlier_versions_are_read() -> None:
    fields = dict.fromkeys(("columns", "rank", "preservation", "ridge", "condition", "relative_change"), 1)
    fields |= dict.fromkeys(("null_prompt_drift", "predicted_retain_p95", "seconds"), 0)
    old = {"preset": "paper", "component": "text_encoder", "tensor": "x", "trade_off": [], **fields}
    assert SolveRecord.model_validate(old).method == "diff_quickfix"
