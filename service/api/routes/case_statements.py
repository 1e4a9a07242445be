"""Statements of reasons: as JSON, as a page, as PDF, and in the form of the DSA transparency database."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response

from api_schemas.cases_statements import CaseStatement
from service.api.auth import ReadsCases
from service.api.dependencies import AppStateDep
from service.api.routes.cases import CaseId
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases import reading, serializers, statement_documents
from service.errors import NotFound
from service.store import cases as store

router = APIRouter(prefix="/v1/cases/{case_id}", tags=["case_statements"])

StatementFormat = Literal["json", "dsa", "html", "pdf"]
CONTENT = {
    "text/html": {"schema": {"type": "string"}, "example": "<!doctype html>\n<title>Statement of reasons</title>\n…\n"},
    "application/pdf": {"schema": {"type": "string", "format": "binary"}, "example": "%PDF-1.7\n…"},
}


@router.get("/statement", summary="Read the statement of reasons")
def read_statement(case_id: CaseId, app_state: AppStateDep, caller: ReadsCases) -> CaseStatement:
    """Return the latest statement. It has no personal data."""
    return find_statement(app_state, caller, case_id)


@router.get(
    "/statement.{format}",
    response_model=CaseStatement,
    summary="Read the statement of reasons as a page, PDF or DSA form",
    responses={200: {"content": CONTENT}},
)
def read_statement_as(
    case_id: CaseId,
    format: Annotated[StatementFormat, Path(description="`dsa`: the form of the DSA transparency database.")],
    app_state: AppStateDep,
    caller: ReadsCases,
) -> Response:
    """Return the latest statement in the format of the path."""
    return statement_response(find_statement(app_state, caller, case_id), format)


def statement_response(statement: CaseStatement, format: StatementFormat) -> Response:
    """Return a statement in a format. Raises `NotFound` for the DSA form of a statement that restricts nothing."""
    if format == "json":
        return Response(statement.model_dump_json(), media_type="application/json")
    if format == "dsa":
        return Response(statement_documents.dsa_json(statement), media_type="application/json")
    if format == "pdf":
        return Response(statement_documents.render_pdf(statement), media_type="application/pdf")
    headers = {"Content-Security-Policy": statement_documents.CONTENT_SECURITY_POLICY}
    return Response(statement_documents.render_html(statement), 200, headers, "text/html; charset=utf-8")


def find_statement(app_state: AppState, caller: Caller, case_id: str) -> CaseStatement:
    """Return the latest statement of a case. Raises `NotFound`."""
    reading.read(app_state, caller, case_id)
    with app_state.database.read() as session:
        row = store.latest_statement(session, case_id)
    if row is None:
        raise NotFound("The case has no statement of reasons.", remedy="There is one once its decision is in force.")
    return serializers.statement(row)
