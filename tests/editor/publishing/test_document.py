"""The report as HTML and as PDF, which have the same contents."""

import io
import itertools
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pypdf
import pytest

from api_schemas.attacks import AttackRecord, Attempt, Budget, Rate
from api_schemas.detectors import DetectorRecord
from api_schemas.feature_scores import DiffCScore, FeatureChange, FeatureScores, Place, Residual, SaeScore
from api_schemas.judging import ChoiceRecord, ImagePreprocessing, NameRecognition, RecognitionRecord
from api_schemas.report import AuditReport, Estimate, ForeseenChange, ForeseenRemoval, LedgerRecord
from editor.io.figures import Chart, Figure, Picture
from editor.publishing.charts import make_charts
from editor.publishing.html import render_html
from editor.publishing.model_card import render_model_card
from editor.publishing.pdf import SPELLED_NOTE, render_pdf
from tests.editor.publishing.conftest import HOSTILE

LABELS = {"main", "section", "nav", "header", "footer", "article"}


class Outline(HTMLParser):
    """Collects the tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, values in self.attributes if (value := values.get(name))]


@pytest.fixture(scope="module")
def figures(report: AuditReport, sheet: Picture) -> Sequence[Figure]:
    return [sheet, *make_charts(report)]


@pytest.fixture(scope="module")
def page(report: AuditReport, figures: Sequence[Figure]) -> str:
    return render_html(report, figures)


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def test_untrusted_text_is_escaped(page: str, outline: Outline) -> None:
    assert not {"script", "b", "i"} & set(outline.tags)
    assert "&lt;script&gt;" in page
    assert HOSTILE in "".join(outline.words)
    assert not [name for _, values in outline.attributes for name in values if name.startswith("on")]


def test_page_is_self_contained(outline: Outline) -> None:
    assert all(source.startswith("data:image/png;base64,") for source in outline.values("src"))
    assert all(link.startswith("#") for link in outline.values("href") + outline.values("xlink:href"))
    assert not {"link", "iframe", "object", "form", "base"} & set(outline.tags)
    (policy,) = (values["content"] for tag, values in outline.attributes if values.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "script-src" not in policy


def test_page_is_accessible_to_screen_readers(outline: Outline) -> None:
    levels = [int(tag[1]) for tag in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert outline.tags.count("table") == outline.tags.count("caption")
    assert {values.get("scope") for tag, values in outline.attributes if tag == "th"} == {"col", "row"}
    assert all(values.get("alt") for tag, values in outline.attributes if tag == "img")
    assert all(values.get("aria-label") for _, values in outline.attributes if values.get("role") == "img")
    assert [values["lang"] for tag, values in outline.attributes if tag == "html"] == ["en"]


def test_ids_are_unique_and_references_resolve(outline: Outline, page: str) -> None:
    ids = outline.values("id")
    assert len(ids) == len(set(ids))
    references = {link[1:] for link in outline.values("href") + outline.values("xlink:href")}
    references |= set(outline.values("aria-labelledby")) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert references <= set(ids)


def test_verdict_precedes_the_tables_in_words(report: AuditReport) -> None:
    page = render_html(report.model_copy(update={"traces": []}), [])
    assert page.index("too small") < page.index("<table")
    assert "at most 4%" in page


def test_the_report_says_how_images_are_read_and_recognised_and_what_is_not_known(report: AuditReport) -> None:
    validation = report.validation
    assert validation
    pixels = ImagePreprocessing(
        source="model type", size=[224, 224], interpolation="bicubic", mean=[0.48, 0.46, 0.41], std=[0.27, 0.26, 0.28]
    )
    unknown = NameRecognition(kind="object", name="aardvark", recognised=Estimate(value=0.0, low=0.0, high=0.7, n=2))
    choices = ChoiceRecord(rule="neighbours", count=3, names=["fox", "wolf", "apple"])
    changes = {
        "judge": validation.judge.model_copy(update={"preprocessing": pixels}),
        "groups": [group.model_copy(update={"choices": choices}) for group in validation.groups],
        "recognition": RecognitionRecord(minimum=0.5, names=40, images=80, left_out=[unknown]),
    }
    page = render_html(report.model_copy(update={"validation": validation.model_copy(update=changes)}), [])
    for words in (
        "224 x 224 pixels (bicubic), mean 0.48, 0.46, 0.41",
        "the published values of its model type",
        "names of other groups: fox, wolf, apple",
        "80 images of 40 names",
        "aardvark",
        "more prompts are needed",
    ):
        assert words in page


def test_report_without_validation_says_not_tested(report: AuditReport) -> None:
    untested = report.model_copy(update={"validation": None, "verdict": None, "traces": []})
    assert "not tested" in render_html(untested, [])
    assert "was not measured" in render_html(untested, [])
    assert "was not evaluated" in render_model_card(untested, [])


def test_forecast_and_ledger_are_shown(report: AuditReport) -> None:
    foreseen = {
        "feasibility": [ForeseenRemoval(concept="fox", kind="object", leak=0.031, left=0.02)],
        "foreseen": [ForeseenChange(prompt="a wolf, noto", change=0.11, moved=0.4, drop=None)],
    }
    solves = [report.solves[0].model_copy(update=foreseen)]
    ledger = LedgerRecord(digest="d" * 64, active=3, taken_back=["pizza"])
    page = render_html(report.model_copy(update={"solves": solves, "ledger": ledger}), [])
    for words in ("a wolf, noto", "3.1%", "40%", "d" * 64, "pizza"):
        assert words in page


def test_trace_is_shown_word_by_word(page: str) -> None:
    assert "“a picture of a fox”: % of the score that self-attention restores" in page
    assert '<th scope="row">fox</th><td>62</td><td>-4</td>' in re.sub(r">\s+<", "><", page)


def test_empty_ledger_is_described_as_the_base_model(report: AuditReport) -> None:
    ledger = LedgerRecord(digest="d" * 64, active=0, taken_back=["pizza"])
    nothing = {"removals": [], "solves": [], "canaries": [], "tensors": [], "artifacts": [], "traces": []}
    emptied = report.model_copy(update={**nothing, "validation": None, "verdict": None, "ledger": ledger})
    for printed in (render_html(emptied, []), pdf_text(render_pdf(emptied, []))):
        assert "No concept is removed from" in printed
        assert "pizza" in printed
        assert not any(words in printed for words in ("0 tensors", "were edited", "does not cover", "0 removals"))


def test_unpublished_weights_are_not_described_as_published(report: AuditReport) -> None:
    why = "No weights were published: the verdict is failed."
    page = render_html(report.model_copy(update={"refused": why}), [])
    assert why in page
    assert "1 tensor of the text encoder" not in page


def rate(hits: int, n: int) -> Rate:
    return Rate(hits=hits, n=n, value=hits / n, low=0.01, high=0.9)


def attack(name: str, hits: int | None, **more: Any) -> AttackRecord:
    attempt = Attempt(what="vixen <b>", seed=3, found=bool(hits), score=0.31)
    return AttackRecord(
        name=name,
        removal=0,
        access="encoder",
        source="Somebody 2024",
        seed=0,
        budget=Budget(unit="prompts encoded", allowed=1000, spent=812, published=None),
        tried=8,
        rate=None if hits is None else rate(hits, 8),
        rate_before=rate(7, 8),
        strongest=attempt,
        attempts=[attempt],
        measures={"norm_of_key": 1.5},
        tells="It says this.",
        skipped=None if hits is not None else "no translations were given",
        **more,
    )


def residual(value: float) -> Residual:
    estimate = Estimate(value=value, low=value - 0.1, high=value + 0.1, n=20)
    return Residual(
        estimate=estimate, damping=estimate, contrast_before=3.0, contrast_after=0.2, auc_before=0.99, auc_after=0.6,
        detected_before=rate(19, 20), detected_after=rate(1, 20), controls=[],
    )  # fmt: skip


@pytest.fixture(scope="module")
def report_with_attacks(report: AuditReport) -> AuditReport:
    place = Place(module="down_blocks.1", timestep=300, protocol="from noise", digest="c" * 64)
    changed = [FeatureChange(feature=411, before=4.0, after=0.5, controls_change=0.1)]
    sae = SaeScore(
        removal=0, place=place, features=[411], residual=residual(0.04), probe=residual(0.2), fvu_before=0.1,
        fvu_after=0.6, trusted=False, why="it explains too little", changed=changed,
    )  # fmt: skip
    half = Estimate(value=0.5, low=0.4, high=0.6, n=10)
    diffc = DiffCScore(
        removal=0,
        place=place,
        asked_for="nothing",
        before=half,
        after=half,
        found_before=rate(9, 10),
        found_after=rate(2, 10),
    )
    detector = DetectorRecord(
        name="nudenet", version="3.4", sha256="e" * 64, classes=["A"], threshold=0.6, before=rate(1, 8), after=rate(0, 8),
        counts_before={}, counts_after={},
    )  # fmt: skip
    return report.model_copy(
        update={
            "attacks": [attack("names", 0), attack("ring_a_bell_adaptive", 5), attack("languages", None)],
            "detectors": [detector],
            "features": FeatureScores(sae=(sae,), diffc=(diffc,)),
        }
    )


def test_most_successful_attack_is_listed_first(report_with_attacks: AuditReport) -> None:
    page = render_html(report_with_attacks, make_charts(report_with_attacks))
    words = " ".join("".join(Outline(page).words).split())
    assert "The most successful attack is ring a bell adaptive" in words
    assert "5 of 8 attempts" in words
    assert words.index("5 of 8 (1% to 90%)") < words.index("0 of 8 (1% to 90%)"), "the table is sorted by success"
    assert "no translations were given" in words
    assert "vixen <b>" in words
    assert "b" not in Outline(page).tags
    assert [chart.name for chart in make_charts(report_with_attacks)][2] == "attacks"


def test_changed_features_and_untrusted_scores_are_shown(report_with_attacks: AuditReport) -> None:
    words = " ".join("".join(Outline(render_html(report_with_attacks, [])).words).split())
    for shown in (
        "411 (represents the concept)",
        "-3.50",
        "no: it explains too little",
        "0.040 (-0.060 to 0.140)",
        "nudenet 3.4",
    ):
        assert shown in words


def test_attacks_are_shown_in_the_pdf(report_with_attacks: AuditReport) -> None:
    printed = strip_spaces(pdf_text(render_pdf(report_with_attacks, make_charts(report_with_attacks))))
    assert strip_spaces("5 of 8 attempts") in printed
    assert strip_spaces("411 (represents the concept)") in printed


def test_report_says_whether_it_is_signed(report: AuditReport) -> None:
    assert "not signed" in render_html(report, [])
    assert "expunge verify FOLDER" in render_html(report.model_copy(update={"signed_by": "e" * 64}), [])


def test_charts_are_well_formed_reproducible_and_complete(report: AuditReport) -> None:
    first, second = make_charts(report), make_charts(report)
    assert [chart.svg for chart in first] == [chart.svg for chart in second]
    assert [chart.name for chart in first] == ["scores", "gates", "trace-0", "trade-off-0"]
    for chart in first:
        ElementTree.fromstring(chart.svg)
        assert "<metadata" not in chart.svg
    assert len(re.findall("currentColor", first[2].svg)) > 5
    assert "unrelated prompts (object)" in first[0].svg
    assert "retain object accuracy drop" in first[1].svg


def test_hostile_name_is_drawn_literally(report: AuditReport) -> None:
    scores = make_charts(report)[0]
    words = "".join(ElementTree.fromstring(scores.svg).itertext())
    assert "<script>alert(" in words


def pdf_text(pdf: bytes) -> str:
    return "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages)


def strip_spaces(words: str) -> str:
    return re.sub(r"[\s\u200b\u00ad-]+", "", words)


def test_pdf_has_the_contents_of_the_page(report: AuditReport, figures: Sequence[Figure], outline: Outline) -> None:
    pdf = render_pdf(report, figures)
    printed = strip_spaces(pdf_text(pdf))
    for section in ("Verdict", "Results against the thresholds", "What was not tested", "Environment"):
        assert strip_spaces(section) in printed
    for words in (
        HOSTILE,
        "Prompts of several sentences <i>.",
        report.validation.judge.sha256 if report.validation else "",
    ):
        assert strip_spaces(words) in printed
        assert strip_spaces(words) in strip_spaces("".join(outline.words))


def test_pdf_is_tagged_titled_dated_and_reproducible(report: AuditReport, figures: Sequence[Figure]) -> None:
    pdf = render_pdf(report, figures)
    assert pdf == render_pdf(report, figures)
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    root = reader.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en"
    assert reader.metadata is not None
    assert reader.metadata.title == f"Removal of “{HOSTILE}” from tiny"
    assert reader.metadata.creation_date == report.created_at
    assert b"pdfuaid" in pdf


def test_characters_missing_in_the_pdf_fonts_are_replaced_by_code_points(
    report: AuditReport, figures: Sequence[Figure]
) -> None:
    """The explanatory note is printed only if a character was replaced."""
    named = report.removals[0].model_copy(update={"concept": "狐 ثعلب λ"})
    foreign = report.model_copy(update={"removals": [named, *report.removals[1:]]})
    pdf = strip_spaces(pdf_text(render_pdf(foreign, make_charts(foreign))))
    assert "[U+72D0]" in pdf
    assert strip_spaces(SPELLED_NOTE) in pdf
    assert "λ" in pdf
    assert strip_spaces(SPELLED_NOTE) not in strip_spaces(pdf_text(render_pdf(report, figures)))


def test_no_charts_without_data(report: AuditReport) -> None:
    bare = report.model_copy(update={"validation": None, "traces": [], "solves": []})
    assert make_charts(bare) == []
    assert all(isinstance(chart, Chart) for chart in make_charts(report))
