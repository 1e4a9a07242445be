"""Statements of reasons, and their form in the DSA transparency database of the European Commission.

Source: the API documentation of the database, https://transparency.dsa.ec.europa.eu/page/api-documentation.
"""

from datetime import date, datetime
from typing import Literal, TypeAlias

from pydantic import Field

from api_schemas.base import Resource
from api_schemas.cases import Action

Visibility: TypeAlias = Literal["DECISION_VISIBILITY_CONTENT_DISABLED", "DECISION_VISIBILITY_OTHER"]
Ground: TypeAlias = Literal["DECISION_GROUND_ILLEGAL_CONTENT", "DECISION_GROUND_INCOMPATIBLE_CONTENT"]
SourceType: TypeAlias = Literal[
    "SOURCE_ARTICLE_16", "SOURCE_TRUSTED_FLAGGER", "SOURCE_TYPE_OTHER_NOTIFICATION", "SOURCE_VOLUNTARY"
]
AutomatedDecision: TypeAlias = Literal["AUTOMATED_DECISION_FULLY", "AUTOMATED_DECISION_NOT_AUTOMATED"]
PUID_PATTERN = r"^[A-Za-z0-9_-]{1,500}$"


class DsaStatement(Resource):
    """A statement of reasons in the form of the DSA transparency database. It has no personal data."""

    decision_visibility: list[Visibility]
    decision_visibility_other: str | None = Field(default=None, max_length=500)
    decision_ground: Ground
    illegal_content_legal_ground: str | None = Field(default=None, max_length=500)
    illegal_content_explanation: str | None = Field(default=None, max_length=2000)
    incompatible_content_ground: str | None = Field(default=None, max_length=500)
    incompatible_content_explanation: str | None = Field(default=None, max_length=2000)
    content_type: list[Literal["CONTENT_TYPE_OTHER"]]
    content_type_other: str = Field(max_length=500)
    category: str = Field(pattern=r"^STATEMENT_CATEGORY_[A-Z_]+$")
    category_specification: list[str]
    territorial_scope: list[str]
    content_language: str | None = None
    content_date: date
    application_date: date
    decision_facts: str = Field(max_length=5000)
    source_type: SourceType
    automated_detection: Literal["Yes", "No"]
    automated_decision: AutomatedDecision
    puid: str = Field(pattern=PUID_PATTERN)


class CaseStatement(Resource):
    """A statement of reasons: what was decided, on which ground, with which effect, and how to contest it."""

    object: Literal["case_statement"] = "case_statement"
    id: str
    case: str
    reference: str
    decision: str
    action: Action
    language: str
    ground: str
    text: str
    effects: list[str] = Field(description="What was done to each model and revision.")
    redress: str
    sent_at: datetime
    puid: str
    dsa: DsaStatement | None = Field(description="Null if nothing was restricted.")
