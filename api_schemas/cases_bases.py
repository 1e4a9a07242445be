"""Bases of cases and reason templates: the operator's configuration, as the API returns it."""

from typing import Literal, TypeAlias

from pydantic import Field

from api_schemas.base import Resource
from api_schemas.cases import Action, DeadlineKind

SlotType: TypeAlias = Literal["choice", "date", "number", "line"]


class CaseBasis(Resource):
    """A basis of notices, such as a law: what a notice must have, and which clocks it starts."""

    object: Literal["case_basis"] = "case_basis"
    id: str = Field(examples=["us-tida"])
    title: str
    law: str
    note: str = Field(description="Shown wherever the basis is: what counsel said about it.")
    version: str
    required: list[str] = Field(description="Fields that a complete notice has.")
    reviewers: int = Field(description="Persons who must agree to a decision: 1 or 2.")
    statement: bool = Field(description="Whether a statement of reasons is due.")
    clocks: dict[DeadlineKind, str] = Field(examples=[{"action": "48 hours"}])


class TemplateSlot(Resource):
    """A slot of a reason template."""

    type: SlotType
    choices: list[str]


class ReasonTemplate(Resource):
    """A versioned text that gives the reason of a decision."""

    object: Literal["reason_template"] = "reason_template"
    name: str
    version: int
    actions: list[Action]
    language: str
    text: str = Field(description="With slots such as `{work}` in braces.")
    slots: dict[str, TemplateSlot]
