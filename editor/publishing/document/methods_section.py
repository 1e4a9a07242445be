"""How it was measured, with what, and which files came of it: for whoever wants to check or repeat it."""

from collections.abc import Iterator

from api_schemas.report import AuditReport, Validation
from editor.publishing import report_text
from editor.publishing.document.blocks import Block, Bullets, Code, Details, Heading, Section, Table, bullets, text


def limits(report: AuditReport) -> Section:
    """What nobody tested, and what is known not to be covered."""
    return Section(
        "limits",
        "What this removal does not cover",
        [
            bullets(report.limits, "Nothing is known."),
            Heading("What was not tested"),
            bullets(report.untested, "Nothing was left out."),
        ],
    )


def record(report: AuditReport) -> Iterator[Section]:
    """Method, prompts, files, environment."""
    yield Section("how", "How it was measured", [*measured(report), *prompts(report)])
    yield Section("files", "Files", [*files(report)])
    yield Section("environment", "Environment", [*environment(report)])


def measured(report: AuditReport) -> Iterator[Block]:
    """Judge and sampler."""
    validation = report.validation
    if validation is None:
        yield text("No pictures were drawn.")
        return
    judge, sampler = validation.judge, validation.sampler
    shares = (
        "it shares weights with the model" if judge.shares_weights_with_model else "no part of the model, not edited"
    )
    yield Table(
        "Judge and sampler",
        (),
        [
            ("Judge", f"{judge.id}; {shares}"),
            ("SHA-256 of the judge", Code(judge.sha256)),
            (
                "Sampler",
                f"{sampler.scheduler}, {sampler.steps} steps, guidance {sampler.guidance:g}, {sampler.precision}",
            ),
            ("Seeds", ", ".join(str(seed) for seed in sampler.seeds)),
            ("Confidence of the intervals", report_text.percent(validation.confidence)),
        ],
    )


def prompts(report: AuditReport) -> Iterator[Block]:
    """Every prompt that made the edit or tested it."""
    for removal in report.removals:
        yield Details(
            f"{len(removal.edit_prompts)} prompts that made the edit: {removal.concept}",
            [Bullets(removal.edit_prompts, small=True)],
        )
    yield from tested(report, report.validation) if report.validation else ()


def tested(report: AuditReport, validation: Validation) -> Iterator[Block]:
    """Prompts of each group."""
    for group in validation.groups:
        name = report_text.group_name(report, group)
        yield Details(f"{len(group.prompts)} prompts that tested it: {name}", [Bullets(group.prompts, small=True)])


def files(report: AuditReport) -> Iterator[Block]:
    """What was published, what it was made from, and how to check it."""
    yield from signature(report)
    yield Table(
        "Published",
        ("File", "Bytes", "SHA-256"),
        [(Code(file.name), f"{file.size:,}", Code(file.sha256)) for file in report.artifacts],
    )
    if report.refused:
        yield text(report.refused)
    if report.lora_note:
        yield text(report.lora_note)
    yield Table(
        f"The base model, {report.model.id} ({report.model.family})",
        ("File", "SHA-256"),
        [(Code(name), Code(digest)) for name, digest in report.model.files.items()],
    )
    if report.tensors:
        yield Table(
            "Tensors that were replaced, by the digests of their bytes",
            ("Tensor", "Original", "Edited"),
            [(Code(one.name), Code(one.base[one.dtype]), Code(one.edited[one.dtype])) for one in report.tensors],
        )


def signature(report: AuditReport) -> Iterator[Block]:
    """Who signed, and how to check."""
    if report.signed_by is None:
        yield text("These files are not signed: no key was at hand. Nobody can tell from them who published them.")
        return
    yield text(
        "All files are signed, this report among them, with the key ",
        Code(report.signed_by),
        ". To check signature, files, thresholds and weights, with nothing but the public key: ",
        Code("expunge verify FOLDER --keys KEYS.json --base BASE"),
    )


def environment(report: AuditReport) -> Iterator[Block]:
    """Software and job."""
    job = {"Job": report.job_id, "Made at": report.created_at.isoformat(timespec="seconds")}
    schema = {"Schema of report.json": report.schema_version}
    yield Table("Software and job", (), [*(job | report.software | schema).items()])
