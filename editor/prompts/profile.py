"""The objects and styles that a model can generate, from which edit prompts and retain prompts are built.

A model folder may contain its own profile, ``expunge.json``; other models use a general one.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from api_schemas.kinds import ConceptKind, NamedKind
from editor.errors import CheckpointError
from editor.prompts.kind_wordings import DEFAULT_WORDINGS, KindWordings
from editor.prompts.placeholders import check_placeholders

PROFILE_FILE = "expunge.json"
PROFILE_REMEDY = "See docs/reference/profiles.md, or leave it out to use the general profile."
GENERAL_FILE = Path(__file__).with_name("profiles") / "general.json"


class Judging(BaseModel):
    """How a judge describes the classes of a profile, and what it chooses from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    descriptions: Literal["best_context", "average"] = Field(
        "best_context",
        description="Compare an image with the best matching description of a class, or with their average, as is usual for "
        "photographs.",
    )
    templates: Mapping[ConceptKind, tuple[str, ...]] = Field(
        {},
        description="Descriptions of a class by kind, with the fields of the wordings. Kinds without any are described in the "
        "profile's styles and with its suffixes.",
    )
    choices: Literal["all", "neighbours"] = Field(
        "all",
        description="Choose from all names of a kind, or from the concept, its neighbours, its replacement and one name of "
        "each group. With hundreds of names, of which some mean the same, only the second is reliable.",
    )
    minimum_recognition: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the base model's images of a name in which the judge must recognise it; otherwise the name is "
        "left out of neighbours and retained prompts. 0: nothing is measured.",
    )
    recognition_images: int = Field(2, ge=1, le=64, description="Images of each name that this is measured on.")

    @field_validator("templates")
    @classmethod
    def _check_templates(
        cls, templates: Mapping[ConceptKind, tuple[str, ...]]
    ) -> Mapping[ConceptKind, tuple[str, ...]]:
        for kind, texts in templates.items():
            for text in texts:
                check_placeholders(text, ({"style"},) if kind == "style" else ({"a"}, {"bare"}))
        return templates


class SamplerDefaults(BaseModel):
    """How to generate images of this model, where that differs from its family."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int | None = Field(None, ge=1, le=150, description="Sampler steps per image.")
    guidance: float | None = Field(None, ge=0, le=20, description="Guidance scale.")
    size: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="Height and width of an image in pixels, for a model whose files do not state them."
    )


class Profile(BaseModel):
    """Objects, styles and wordings. Wordings have the fields ``{a}`` (with article), ``{bare}`` and ``{style}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objects: dict[str, tuple[str, ...]] = Field(description="Group -> objects of similar appearance or meaning.")
    parents: Mapping[str, str] = Field(
        {}, description="Group of objects -> class that all of them belong to, such as songbirds -> bird."
    )
    styles: tuple[str, ...]
    default_style: str | None = Field(None, description="What a prompt without a style draws, if that is one of them.")
    style_replacements: Mapping[str, str] = Field(
        {}, description="Style -> the style that replaces it instead of the default one, such as the most similar one."
    )
    styled_wordings: tuple[str, ...] = Field(description="Name an object and a style.")
    plain_wordings: tuple[str, ...] = Field(description="Name an object alone.")
    held_out_wordings: tuple[str, ...] = Field(description="Styled wordings that no edit sees: they test generality.")
    suffixes: tuple[str, ...] = Field(("",), description="What may follow a wording; the empty one first.")
    prefixes: tuple[str, ...] = Field(
        ("",), description="What may precede a wording, of several lengths: they move the subject to later positions."
    )
    negative_prompts: tuple[str, ...] = Field(
        (),
        description="Negative prompts that users of the model give: an edit preserves them, because its encoder reads them.",
    )
    style_contexts: int = Field(
        96,
        ge=1,
        description="Prompts that a style is edited in, for each of its names: a style is spread over all objects.",
    )
    names: Mapping[Literal["person", "character", "brand"], Mapping[str, tuple[str, ...]]] = Field(
        {}, description="Names of people, characters and brands that the model can generate, by kind and group."
    )
    wordings: Mapping[NamedKind, KindWordings] = Field(
        {},
        description="Prompt templates of people, characters, brands and unsafe content, in place of the general ones.",
    )
    judging: Judging = Field(Judging(), description="How a judge recognises these names in images.")
    sampler: SamplerDefaults = Field(
        SamplerDefaults(), description="How images of the model are generated for a judge."
    )

    @field_validator("styled_wordings", "plain_wordings", "held_out_wordings")
    @classmethod
    def _check_wording_fields(cls, wordings: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        wanted = set() if info.field_name == "plain_wordings" else {"style"}
        for wording in wordings:
            check_placeholders(wording, (wanted | {"a"}, wanted | {"bare"}))
        return wordings

    @model_validator(mode="after")
    def _check_held_out_wordings(self) -> "Profile":
        shared = {*self.held_out_wordings} & {*self.styled_wordings, *self.plain_wordings}
        if shared:
            raise ValueError(f"held-out wordings must not be among the other wordings: {sorted(shared)}")
        return self

    @model_validator(mode="after")
    def _check_parents(self) -> "Profile":
        if unknown := self.parents.keys() - self.objects.keys():
            raise ValueError(f"parents names groups that objects does not have: {sorted(unknown)}")
        return self

    @property
    def object_names(self) -> tuple[str, ...]:
        """All objects, group by group."""
        return self.names_of("object")

    def groups_of(self, kind: ConceptKind) -> Mapping[str, tuple[str, ...]]:
        """Return the names of a kind by group. Styles are one group; unsafe content has no names."""
        if kind == "object":
            return self.objects
        if kind == "style":
            return {"styles": self.styles}
        return self.names.get(kind, {}) if kind != "unsafe" else {}

    def names_of(self, kind: ConceptKind) -> tuple[str, ...]:
        """Return all names of a kind, group by group."""
        return tuple(name for names in self.groups_of(kind).values() for name in names)

    def group_of(self, kind: ConceptKind, name: str) -> str | None:
        """Return the group that lists a name, in upper or lower case; None if none does."""
        wanted = name.casefold()
        groups = self.groups_of(kind).items()
        return next((group for group, names in groups if wanted in map(str.casefold, names)), None)

    def parent_of(self, name: str) -> str | None:
        """Return the class that an object belongs to; None if the profile does not know it."""
        group = self.group_of("object", name)
        return self.parents.get(group) if group else None

    def members_of(self, classes: Collection[str]) -> Iterator[str]:
        """Yield the objects of the groups whose parent is one of ``classes``, which are in lower case."""
        for group, parent in self.parents.items():
            if parent.casefold() in classes:
                yield from self.objects[group]

    def wordings_of(self, kind: NamedKind) -> KindWordings:
        """Return the prompt templates of a kind: the profile's, or the general ones."""
        return self.wordings.get(kind, DEFAULT_WORDINGS[kind])


@lru_cache
def general_profile() -> Profile:
    """Return the profile of models without one: everyday objects by group, art styles and artists long dead.

    Objects are described to a judge by the seven templates that CLIP's authors selected from eighty.
    """
    return Profile.model_validate_json(GENERAL_FILE.read_bytes())


def load_profile(model: Path) -> Profile:
    """Return the profile in a model's folder, or beside a single file; else the general one.

    Raises:
        CheckpointError: the model's profile does not match the schema.
    """
    path = (model.parent if model.is_file() else model) / PROFILE_FILE
    return read_profile(path, "model") if path.exists() else general_profile()


def read_profile(path: Path, field: str = "profile") -> Profile:
    """Read a profile from a file.

    Args:
        path: a JSON file.
        field: the option or field that an error names.

    Raises:
        CheckpointError: the file can't be read or does not match the schema.
    """
    try:
        return Profile.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        raise CheckpointError(f"{path} is not a valid profile: {error}.", field=field, remedy=PROFILE_REMEDY) from error


def parse_profile(profile: Mapping[str, Any]) -> Profile:
    """Parse the JSON object of a profile. Raises CheckpointError: it does not match the schema."""
    try:
        return Profile.model_validate(profile)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"The profile is not valid: {place}: {first['msg']}.", field="profile", remedy=PROFILE_REMEDY
        ) from error
