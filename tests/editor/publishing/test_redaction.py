"""Withheld names are in no published file, and the private report proves what they were."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from api_schemas.attacks import AttackRecord, Attempt, Budget
from api_schemas.judging import ChoiceRecord
from api_schemas.report import (
    AuditReport,
    CanaryRecord,
    Estimate,
    ForeseenChange,
    ForeseenRemoval,
    LedgerRecord,
    NameRecord,
    WordEffects,
    WordTrace,
)
from editor.checkpoints.tensor_update import TensorUpdate
from editor.io.digests import salted_digest
from editor.io.plotting import ImagePair, sample_sheet
from editor.publishing.attestation.keys import KeyFolder
from editor.publishing.attestation.verification_case import VerificationCase
from editor.publishing.attestation.verify import verify
from editor.publishing.bundle import Signing, publish_redacted
from editor.publishing.export import deliver, list_artifacts
from editor.publishing.redaction import PrivateReport, Redactor, fold, join_words, make_redactor, redact_report

NAMES = ("Quillwort Marjoram", "The Moth Collector", "moth collectors", "Eglantine Sorrel", "quillwort-marjoram")
SALT = "5a" * 32
EARLIER = datetime(2025, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def named(report: AuditReport) -> AuditReport:
    """A report with a person's name in every field that can contain one."""
    person, alias, plural, other, spelled = NAMES
    prompts = [f"a painting by {person}", f"{alias}, by {person.upper()}", f"{spelled}'s {plural}"]
    removal = report.removals[0].model_copy(
        update={
            "concept": person,
            "kind": "style",
            "destination": other,
            "aliases": [alias],
            "names": [NameRecord(text=plural, source="spelling"), NameRecord(text=spelled, source="spelling")],
            "edit_prompts": prompts,
            "neighbours": ["a wolf", f"pupils of {person}"],
        }
    )
    solve = report.solves[0].model_copy(
        update={
            "foreseen": [ForeseenChange(prompt=prompts[0], change=0.1)],
            "feasibility": [ForeseenRemoval(concept=person, kind="style", leak=0.1, left=0.1)],
        }
    )
    validation = report.validation
    assert validation
    choices = ChoiceRecord(rule="neighbours", count=3, names=[person, alias, "wolf"])
    groups = [group.model_copy(update={"prompts": prompts, "choices": choices}) for group in validation.groups]
    return report.model_copy(
        update={
            "removals": [removal],
            "solves": [solve],
            "traces": [report.traces[0].model_copy(update={"choice": f"layer 0, for {person}"})],
            "validation": validation.model_copy(update={"groups": groups}),
            "canaries": [
                CanaryRecord(component="text_encoder", removal=0, prompt=prompts[0], base="AAA=", edited="AAA=")
            ],
            "ledger": LedgerRecord(digest="d" * 64, active=2, taken_back=["Thistle Hemlock"]),
            "limits": [f"No other names were given for “{person}”."],
        }
    )


@pytest.fixture(scope="module")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    folder = KeyFolder(tmp_path_factory.mktemp("keys") / "signing")
    folder.create(EARLIER)
    return folder


@pytest.fixture(scope="module")
def delivered(
    named: AuditReport,
    update: TensorUpdate,
    model_dir: Path,
    key_folder: KeyFolder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    made, out = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("delivered")
    images = [Image.new("RGB", (64, 64), colour) for colour in ("orange", "gray")]
    sheet = sample_sheet("samples-0", f"Asked for {NAMES[0]}.", [ImagePair(f"a painting by {NAMES[0]}", *images)])
    signing = Signing(key_folder.signer(named.created_at), {"requestDigest": salted_digest(SALT, "sha256:1")})
    publish_redacted(named, [update], model_dir, [sheet], made, salt=SALT, signing=signing)
    deliver(made, model_dir, out)
    return out


def private_files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*private*")}


def test_no_published_file_contains_a_name(delivered: Path) -> None:
    assert private_files(delivered) == {"report.private.json", "report.private.html"}
    public = [path for path in delivered.rglob("*") if path.is_file() and path.name not in private_files(delivered)]
    assert len(public) >= 11
    for path in public:
        content = path.read_bytes().lower()
        for name in (*NAMES, "Thistle Hemlock", "Quillwort", "Eglantine"):
            for spelled in (name, name.replace(" ", "\\u0020"), name.replace(" ", "&#32;")):
                assert spelled.lower().encode() not in content, (path.name, name)


def test_no_published_pdf_contains_a_name(delivered: Path) -> None:
    import pypdf

    words = "".join(page.extract_text() for page in pypdf.PdfReader(delivered / "report.pdf").pages)
    assert "[concept 1]" in words
    assert not [name for name in NAMES if name.lower() in words.lower()]


def test_digests_are_not_plain_hashes_of_the_names(delivered: Path, named: AuditReport) -> None:
    """No digest can be reversed by guessing names."""
    import hashlib

    everything = b"".join(
        path.read_bytes() for path in delivered.rglob("*") if path.is_file() and "private" not in path.name
    )
    for name in (*NAMES, *(one.lower() for one in NAMES)):
        assert hashlib.sha256(name.encode()).hexdigest().encode() not in everything
    assert salted_digest(SALT, NAMES[0]).encode() in everything
    assert SALT.encode() not in everything
    assert b"d" * 64 not in everything, "the digest of a ledger depends on names"


def test_private_report_is_complete_and_readable_by_its_owner_only(delivered: Path, named: AuditReport) -> None:
    private = PrivateReport.model_validate_json((delivered / "report.private.json").read_bytes())
    assert private.report.removals == named.removals
    assert private.report.canaries == named.canaries
    page = (delivered / "report.private.html").read_text()
    assert NAMES[0] in page
    assert "data:image/png" in page
    assert {(delivered / name).stat().st_mode & 0o777 for name in private_files(delivered)} == {0o600}


def test_redacted_report_verifies_with_and_without_the_private_report(
    delivered: Path, key_folder: KeyFolder, tmp_path: Path
) -> None:
    public = shutil.copytree(delivered, tmp_path / "public", ignore=shutil.ignore_patterns("*private*"))
    assert verify(VerificationCase(public, key_folder.public())).ok
    found = verify(VerificationCase(delivered, key_folder.public()))
    assert found.ok
    assert [one.outcome for one in found.findings if one.check == "names"] == ["ok"]


def test_private_report_of_another_person_fails_verification(
    delivered: Path, key_folder: KeyFolder, tmp_path: Path
) -> None:
    folder = shutil.copytree(delivered, tmp_path / "copy")
    private = folder / "report.private.json"
    private.write_text(private.read_text().replace(NAMES[0], "Somebody Else"))
    found = verify(VerificationCase(folder, key_folder.public()))
    assert [one.check for one in found.findings if one.outcome == "failed"] == ["names"]


def test_private_files_have_the_kind_private(
    named: AuditReport, update: TensorUpdate, model_dir: Path, tmp_path: Path
) -> None:
    publish_redacted(named, [update], model_dir, [], tmp_path, salt=SALT)
    kinds = {artifact.name: artifact.kind for artifact in list_artifacts(tmp_path)}
    assert {name for name, kind in kinds.items() if kind == "private"} == {"report.private.json", "report.private.html"}
    listed = json.loads((tmp_path / "report.json").read_text())["artifacts"]
    assert not [one for one in listed if "private" in one["name"]]


def test_names_are_redacted_as_whole_words_but_not_in_file_names(report: AuditReport) -> None:
    removal = report.removals[0].model_copy(update={"concept": "text", "aliases": ["ink"], "names": []})
    limits = ["Thinking of ink, Text or a text_encoder."]
    public = redact_report(report.model_copy(update={"removals": [removal], "limits": limits}), SALT)
    assert public.limits == ["Thinking of [concept 1, name 2], [concept 1] or a text_encoder."]
    assert public.model == report.model
    assert public.solves[0].tensor == report.solves[0].tensor
    assert AuditReport.model_validate_json(public.model_dump_json()) == public


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Anton Weiß", "by ANTON WEISS"),
        ("Anton Weiß", "by Anton Weiß"),
        ("İpek Ören", "by İPEK ÖREN"),
        ("İpek Ören", "by I\u0307pek O\u0308ren"),
        ("José Núñez", "by Jose Nunez"),
        ("hot dog", "by hot_dog"),
        ("hot dog", "by HotDog"),
        ("hot dog", "by hot\u2011 dog"),
        ("hot dog", "by h\u200bot dog"),
        ("ΟΔΥΣΣΕΥΣ", "by Οδυσσευς"),
        ("fox", "by \uff46ox"),
        ("狐", "by一只狐狸"),
        ("가", "by 각"),
        ("राम", "by राम"),
    ],
)
def test_names_are_redacted_in_every_case_accent_and_separator(name: str, text: str) -> None:
    public = Redactor({name: "#"}).redact(text)
    assert public.removesuffix("狸").removesuffix("一只#") in {"by #", "by"}


@given(name=st.text(min_size=1), before=st.text(), after=st.text())
def test_redaction_keeps_the_text_around_a_name(name: str, before: str, after: str) -> None:
    public = Redactor({name: "#"}).redact(f"{before} {name.upper()} {after}")
    assert name not in public or not join_words(fold(name)[0]) or fold(name)[0] in fold(f"{before}#{after}")[0]
    assert Redactor({name: "#"}).redact("~") == "~" or fold(name)[0].strip() == "~"


def test_attempts_of_attacks_are_numbered_because_they_are_misspelled_names(report: AuditReport) -> None:
    attempt = Attempt(what="a picture of q uillwort", seed=1, found=True, score=0.5)
    attempts = [attempt.model_copy(update={"found": False}), attempt]
    record = AttackRecord(
        name="names",
        removal=0,
        access="prompts",
        source="",
        seed=1,
        budget=Budget(unit="names", allowed=2, spent=2, published=None),
        tried=2,
        rate=None,
        rate_before=None,
        strongest=attempt,
        attempts=attempts,
        tells="",
    )
    public = redact_report(report.model_copy(update={"attacks": [record]}), SALT)
    assert [one.what for one in public.attacks[0].attempts] == ["[attempt 1]", "[attempt 2]"]
    assert public.attacks[0].strongest == public.attacks[0].attempts[1]
    assert "uillwort" not in public.model_dump_json()


def test_enumerated_fields_are_not_redacted(report: AuditReport) -> None:
    removal = report.removals[0].model_copy(update={"concept": "object", "aliases": ["passed", "default", "target"]})
    public = redact_report(report.model_copy(update={"removals": [removal]}), SALT)
    assert AuditReport.model_validate_json(public.model_dump_json()).removals[0].kind == "object"


def test_longer_names_are_redacted_before_shorter_ones(report: AuditReport) -> None:
    removal = report.removals[0].model_copy(
        update={"concept": "dog", "aliases": ["hot dog"], "destination_source": "null"}
    )
    cover = make_redactor(report.model_copy(update={"removals": [removal]}))
    assert cover.redact("a hot dog and a dog") == "a [concept 1, name 2] and a [concept 1]"
    assert Redactor({}).redact("a dog") == "a dog"


def test_redaction_does_not_change_estimates(named: AuditReport) -> None:
    public = redact_report(named, SALT)
    assert public.validation
    assert named.validation
    assert public.validation.checks[0].measured == named.validation.checks[0].measured
    assert isinstance(public.validation.groups[0].accuracy_after, Estimate)


def test_trace_by_word_is_withheld(report: AuditReport) -> None:
    """A word of a name of several words is no name, so no placeholder would replace it."""
    word = WordEffects(text="dog", subject=True, effects=[0.5])
    trace = report.traces[0].model_copy(update={"by_word": WordTrace(prompt="a hot dog", words=[word])})
    public = redact_report(report.model_copy(update={"traces": [trace]}), SALT)
    assert [one.by_word for one in public.traces] == [None]
