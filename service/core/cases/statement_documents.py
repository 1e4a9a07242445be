"""The statement of reasons as a page that prints well, as a tagged PDF, and in the form of the DSA transparency database."""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from api_schemas.cases_statements import CaseStatement
from service.errors import NotFound

TEMPLATES = Path(__file__).parent / "templates"
STYLE = (TEMPLATES / "statement.css").read_text("utf-8")
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; sandbox; frame-ancestors 'none'"
ACTIONS = {
    "erase": "A concept was removed from the weights of the models below.",
    "withhold": "The models below are not served.",
    "refuse": "The notice was refused. Nothing was restricted.",
    "none": "No measure was taken.",
}


def dsa_json(statement: CaseStatement) -> str:
    """Return the form of the DSA transparency database. Raises `NotFound` if nothing was restricted."""
    if statement.dsa is None:
        raise NotFound(
            "The statement has no form of the DSA transparency database.",
            remedy="Only decisions that restrict something are reported there.",
        )
    return statement.dsa.model_dump_json(exclude_none=True)


def render_html(statement: CaseStatement) -> str:
    """Return the statement as a page."""
    return _environment().get_template("statement.html").render(style=STYLE, **_context(statement))


def render_pdf(statement: CaseStatement) -> bytes:
    """Return the statement as PDF/UA. The same statement gives the same bytes."""
    import typst  # It takes a tenth of a second.

    context = _context(statement)
    compiler = typst.Compiler(
        (TEMPLATES / "statement.typ").read_bytes(),
        sys_inputs={"statement": json.dumps(context)},
        ignore_system_fonts=True,
    )
    made = compiler.compile(format="pdf", timestamp=statement.sent_at.replace(microsecond=0), pdf_standards="ua-1")
    assert isinstance(made, bytes), "a PDF is one file"
    return made


@cache
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _context(statement: CaseStatement) -> dict[str, Any]:
    """Return the words of the document."""
    return {
        "language": statement.language,
        "title": f"Statement of reasons {statement.reference}",
        "sent_at": f"{statement.sent_at:%Y-%m-%d %H:%M} UTC",
        "puid": statement.puid,
        "decision": ACTIONS[statement.action],
        "effects": statement.effects,
        "ground": statement.ground,
        "reason": statement.text,
        "territories": ", ".join(statement.dsa.territorial_scope) if statement.dsa else "",
        "automated": bool(statement.dsa and statement.dsa.automated_decision == "AUTOMATED_DECISION_FULLY"),
        "redress": statement.redress,
    }
