"""The operator's configuration of cases: bases with their clocks, calendars, and reason templates."""

import re
import tomllib
from collections.abc import Container, Mapping
from datetime import date, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from api_schemas.cases import Action, DeadlineKind
from api_schemas.cases_bases import CaseBasis, ReasonTemplate, SlotType, TemplateSlot
from api_schemas.cases_requests import DecisionBody, Notice
from api_schemas.errors import UsageError
from api_schemas.problems import InvalidField, invalid_field
from service.core.cases import clock
from service.core.cases.clock import Calendar, Rule
from service.errors import InvalidRequest

EXAMPLES = Path(__file__).with_name("bases.toml")
SLOT = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_STATEMENTS = "statements."


def _check_rule(text: str) -> str:
    return str(Rule.parse(text))


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{name!r} is not a time zone") from error
    return name


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CalendarConfig(_Config):
    """A place: its time zone, its country in the package `holidays`, and further holidays."""

    zone: Annotated[str, AfterValidator(_check_zone)]
    holidays: str | None = None
    also: list[date] = []

    @cached_property
    def calendar(self) -> Calendar:
        """The calendar of the place."""
        return Calendar(ZoneInfo(self.zone), _Holidays(self.holidays, frozenset(self.also)))


class _Holidays(Container[date]):
    """The holidays of a country, which are loaded when they are needed: the package takes a second to import."""

    def __init__(self, country: str | None, also: frozenset[date]) -> None:
        self._country, self._also = country, also

    def __contains__(self, day: object) -> bool:
        return day in self._also or (self._country is not None and day in _national_holidays(self._country))


@cache
def _national_holidays(country: str) -> Container[object]:
    from holidays import country_holidays

    return country_holidays(country)


class DsaClass(_Config):
    """How a statement is classified in the DSA transparency database."""

    ground: Literal["illegal", "incompatible"]
    category: str = Field(pattern=r"^STATEMENT_CATEGORY_[A-Z_]+$")
    keywords: list[Annotated[str, Field(pattern=r"^KEYWORD_[A-Z_]+$")]] = []


class Basis(_Config):
    """A basis of notices."""

    title: str
    law: str
    note: str
    calendar: str
    required: list[str]
    reviewers: int = Field(ge=1, le=2)
    statement: bool
    clocks: dict[DeadlineKind, Annotated[str, AfterValidator(_check_rule)]]
    dsa: DsaClass

    def missing_fields(self, notice: Notice) -> list[str]:
        """Return the required fields that a notice lacks."""
        return [path for path in self.required if not _has(notice, path)]


def _has(notice: Notice, path: str) -> bool:
    if path.startswith(_STATEMENTS):
        return path.removeprefix(_STATEMENTS) in {one.kind for one in notice.statements}
    value: object = notice
    for part in path.split("."):
        value = getattr(value, part)
    return bool(value)


class Slot(_Config):
    """A typed slot of a template."""

    type: SlotType
    choices: list[str] = []

    def accepts(self, text: str) -> bool:
        """Return whether a text has the type of the slot."""
        if self.type == "choice":
            return text in self.choices
        if self.type == "number":
            return text.isascii() and text.isdecimal()
        return self.type == "line" or _is_date(text)


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


class Template(_Config):
    """A versioned reason with typed slots."""

    version: int = Field(ge=1)
    actions: list[Action]
    language: str
    text: str
    slots: dict[str, Slot] = {}

    @model_validator(mode="after")
    def _slots_match(self) -> Self:
        if set(SLOT.findall(self.text)) != set(self.slots):
            raise ValueError("the slots of the text and of the table differ")
        return self

    def fill(self, slots: Mapping[str, str]) -> str:
        """Return the text with its slots filled in. Raises `InvalidRequest` naming each slot that is not."""
        wrong = sorted(
            name
            for name in self.slots.keys() | slots.keys()
            if name not in self.slots or not self.slots[name].accepts(slots.get(name, ""))
        )
        if wrong:
            raise InvalidRequest(
                "The slots of the reason template are not filled in.",
                remedy="GET /v1/reason_templates lists the slots and their types.",
                errors=[self._slot_error(name) for name in wrong],
            )
        return SLOT.sub(lambda match: slots[match[1]], self.text)

    def _slot_error(self, name: str) -> InvalidField:
        slot = self.slots.get(name)
        wanted = "is not a slot of this template" if slot is None else f"must be a {slot.type}"
        remedy = f"Choose one of: {'; '.join(slot.choices)}." if slot and slot.choices else "Correct the slot."
        return invalid_field(("slots", name), code="slot", message=wanted, remedy=remedy)


class CaseRules(_Config):
    """The whole file."""

    version: str = Field(min_length=1, max_length=64)
    redress: str
    calendars: dict[str, CalendarConfig]
    bases: dict[str, Basis]
    templates: dict[str, Template]

    @model_validator(mode="after")
    def _calendars_exist(self) -> Self:
        for name, basis in self.bases.items():
            if basis.calendar not in self.calendars:
                raise ValueError(f"bases.{name}.calendar: there is no calendar {basis.calendar!r}")
            for path in basis.required:
                _check_path(name, path)
        return self

    def due(self, basis: str, kind: DeadlineKind, start: datetime) -> datetime | None:
        """Return when the clock of a basis ends, or None if the basis has no such clock."""
        config = self.bases[basis]
        if kind not in config.clocks:
            return None
        return clock.due(Rule.parse(config.clocks[kind]), start, self.calendars[config.calendar].calendar)

    def missing_fields(self, bases: list[str], notice: Notice) -> list[str]:
        """Return the fields that any of the bases requires and the notice lacks. Raises `InvalidRequest`."""
        return sorted({path for name in bases for path in self.basis(name).missing_fields(notice)})

    def basis(self, name: str) -> Basis:
        """Return a basis. Raises `InvalidRequest`."""
        if name not in self.bases:
            known = ", ".join(self.bases)
            error = invalid_field(("bases",), code="unknown_basis", message="is not known", remedy=f"Known: {known}.")
            raise InvalidRequest(f"There is no basis {name}.", remedy="GET /v1/bases lists them.", errors=[error])
        return self.bases[name]

    def reason(self, decision: DecisionBody) -> tuple[Template, str]:
        """Return the template of a decision and its text. Raises `InvalidRequest`."""
        template = self.templates.get(decision.template)
        if template is None or decision.action not in template.actions:
            fitting = ", ".join(name for name, one in self.templates.items() if decision.action in one.actions)
            error = invalid_field(
                ("template",),
                code="unknown_template",
                message=f"is not a reason template for the action {decision.action}",
                remedy=f"Templates for it: {fitting}.",
            )
            raise InvalidRequest("There is no such reason template.", errors=[error])
        return template, template.fill(decision.slots)

    def reviewers(self, bases: list[str]) -> int:
        """Return how many persons must agree to a decision."""
        return max(self.basis(name).reviewers for name in bases)

    def basis_resources(self) -> list[CaseBasis]:
        """Return the bases as the API does."""
        fields = {"title", "law", "note", "required", "reviewers", "statement", "clocks"}
        return [
            CaseBasis(id=name, version=self.version, **basis.model_dump(include=fields))
            for name, basis in self.bases.items()
        ]

    def template_resources(self) -> list[ReasonTemplate]:
        """Return the reason templates as the API does."""
        return [
            ReasonTemplate(
                name=name,
                slots={slot: TemplateSlot(**config.model_dump()) for slot, config in one.slots.items()},
                **one.model_dump(exclude={"slots"}),
            )
            for name, one in self.templates.items()
        ]


def _check_path(basis: str, path: str) -> None:
    try:
        _has(Notice(), path)
    except AttributeError as error:
        raise ValueError(f"bases.{basis}.required: a notice has no field {path!r}") from error


@cache
def load_rules(file: Path | None) -> CaseRules:
    """Load the operator's file, or the examples. Raises `UsageError`."""
    path = file or EXAMPLES
    try:
        return CaseRules.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", field="case_bases", remedy="Correct the file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{path}: {place}: {first['msg']}.", field="case_bases", remedy="Correct the file.") from error
