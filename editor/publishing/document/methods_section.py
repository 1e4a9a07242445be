"""How the edit was evaluated and which files were published, for readers who want to check or repeat it."""

from collections.abc import Iterator

from api_schemas.report import AuditReport, Validation
from editor.publishing import report_text
from editor.publishing.document.blocks import Block, Bullets, Code, Details, Heading, Section, Table, bullets, paragraph


def limits_section(report: AuditReport) -> Section:
    """List the known gaps and what was not tested."""
    return Section(
        "limits",
        "What this removal does not cover",
        [
            bullets(report.limits, "No gaps are known."),
            Heading("What was not tested"),
            bullets(report.untested, "Everything was tested."),
        ],
    )


def method_sections(report: AuditReport) -> Iterator[Section]:
    """Return the sections on method, files and environment."""
    yield Section("how", "How it was evaluated", [*measurement_blocks(report), *prompt_blocks(report)])
    yield Section("files", "Files", [*file_blocks(report)])
    yield Section("environment", "Environment", [environment_table(report)])


def measurement_blocks(report: AuditReport) -> Iterator[Block]:
    """Show the judge and the sampler."""
    validation = report.validation
    if validation is None:
        yield paragraph("No images were generated.")
        return
    judge, sampler = validation.judge, validation.sampler
    independence = "shares weights with the model" if judge.shares_weights_with_model else "independent of the model"
    settings = f"{sampler.scheduler}, {sampler.steps} steps, guidance {sampler.guidance:g}, {sampler.precision}"
    yield Table(
        "Judge and sampler",
        (),
        [
            ("Judge", f"{judge.id}; {independence}"),
            ("SHA-256 of the judge", Code(judge.sha256)),
            *(
                [("Images for the judge", report_text.preprocessing(judge.preprocessing))]
                if judge.preprocessing
                else []
            ),
            ("Sampler", settings),
            ("Seeds", ", ".join(str(seed) for seed in sampler.seeds)),
            ("Confidence level of the intervals", report_text.percent(validation.confidence)),
        ],
    )
    yield choice_table(report, validation)


def choice_table(report: AuditReport, validation: Validation) -> Block:
    """Say what recognised each group's images, and what it chose from."""
    return Table(
        "What was recognised, and among what",
        ("Prompts", "Recognised by"),
        [(report_text.group_name(report, group), report_text.choices(group)) for group in validation.groups],
    )


def prompt_blocks(report: AuditReport) -> Iterator[Block]:
    """List every prompt that the edit used and every prompt that tested it."""
    for removal in report.removals:
        title = f"{len(removal.edit_prompts)} prompts that the edit used: {removal.concept}"
        yield Details(title, [Bullets(removal.edit_prompts, small=True)])
    if report.validation:
        yield from test_prompt_blocks(report, report.validation)


def test_prompt_blocks(report: AuditReport, validation: Validation) -> Iterator[Block]:
    """List the test prompts of each group."""
    for group in validation.groups:
        title = f"{len(group.prompts)} test prompts: {report_text.group_name(report, group)}"
        yield Details(title, [Bullets(group.prompts, small=True)])


def file_blocks(report: AuditReport) -> Iterator[Block]:
    """List the published files and the base model's files, and say how to verify them."""
    yield signature_text(report)
    yield Table(
        "Published files",
        ("File", "Bytes", "SHA-256"),
        [(Code(file.name), f"{file.size:,}", Code(file.sha256)) for file in report.artifacts],
    )
    if report.refused:
        yield paragraph(report.refused)
    if report.lora_note:
        yield paragraph(report.lora_note)
    yield Table(
        f"Files of the base model, {report.model.id} ({report.model.family})",
        ("File", "SHA-256"),
        [(Code(name), Code(digest)) for name, digest in report.model.files.items()],
    )
    if report.tensors:
        yield Table(
            "SHA-256 of the replaced tensors",
            ("Tensor", "Original", "Edited"),
            [(Code(one.name), Code(one.base[one.dtype]), Code(one.edited[one.dtype])) for one in report.tensors],
        )


def signature_text(report: AuditReport) -> Block:
    """Say which key signed the files, and how to verify them."""
    if report.signed_by is None:
        return paragraph(
            "These files are not signed: no signing key was configured. They do not prove who published them."
        )
    return paragraph(
        "All files, including this report, are signed with the key ",
        Code(report.signed_by),
        ". To verify the signature, the files, the thresholds and the weights with the public key alone: ",
        Code("expunge verify FOLDER --keys KEYS.json --base BASE"),
    )


def environment_table(report: AuditReport) -> Block:
    """Show the job and the software versions."""
    job = {"Job": report.job_id, "Created": report.created_at.isoformat(timespec="seconds")}
    schema = {"Schema of report.json": report.schema_version}
    if report.profile:
        job |= {"Profile": f"{report.profile.name}, SHA-256 {report.profile.sha256}"}
    return Table("Job and software", (), [*(job | report.software | schema).items()])
