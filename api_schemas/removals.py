"""`Removal`: a concept to remove, its names and its replacement."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag, ValidationInfo, field_validator

from api_schemas.base import Phrase, Prompt, Request, field_error
from api_schemas.kinds import AUTO, KIND_DESCRIPTION, ConceptKind

LanguageTag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
"""A BCP 47 tag, such as `fr` or `zh-Hant`."""

Spellings = Annotated[
    Annotated[Literal["auto"], Tag("[auto]")] | Annotated[Annotated[list[Phrase], Field(max_length=50)], Tag("[list]")],
    Discriminator(lambda value: "[auto]" if isinstance(value, str) else "[list]"),
]


class Removal(Request):
    """A concept to remove, and its replacement."""

    concept: Phrase = Field(
        description="The concept as a prompt would name it, without an article.", examples=["fox", "ink"]
    )
    kind: ConceptKind = Field(default="object", description=KIND_DESCRIPTION)
    replacement: Phrase | None = Field(
        default=AUTO,
        description="The concept that prompts for the removed concept map to. `auto` is `generic` if that is given. For an "
        "object without it, `auto` is a name in the model's profile that the judge tells apart from the concept and that "
        "nobody removed: of the four that are forecast to change other prompts least, the one whose edit is forecast to fail "
        "in the fewest images. null maps to `generic` or to the null concept, as `auto` does for concepts of other kinds.",
        examples=["dog face", "noto", "auto"],
    )
    generic: Phrase | None = Field(
        default=None,
        description="Parent class that prompts for the concept map to if there is no replacement. Without either, they map to "
        "the empty prompt (the null concept). `auto` is the parent class that the model's profile has for "
        "the concept, if any.",
        examples=["animal", "auto"],
    )
    aliases: list[Phrase] = Field(
        default=[],
        max_length=50,
        description="Other names of the concept, which are also removed.",
        examples=[["vixen"]],
    )
    titles: list[Phrase] = Field(
        default=[],
        max_length=50,
        description="Titles of works, such as an artist's paintings, which are also removed.",
        examples=[["The Starry Night", "Cafe Terrace at Night"]],
    )
    translations: dict[LanguageTag, Annotated[list[Phrase], Field(min_length=1, max_length=10)]] = Field(
        default={},
        max_length=20,
        description="Names of the concept in other languages, by language tag, which are also removed.",
        examples=[{"fr": ["renard"], "de": ["Fuchs"]}],
    )
    spellings: Spellings = Field(
        default="auto",
        description="Spelling variants of the names. `auto` generates those that the model's tokenizer distinguishes: other "
        "spacing, hyphens, plurals, frequent misspellings. A list is used as it is; an empty list disables variants.",
        examples=["auto", ["foxx"]],
    )
    exclude: list[Phrase] = Field(
        default=[],
        max_length=200,
        description="Names to exclude from the expansion. `expunge prompts` lists the expansion.",
        examples=[["foxes"]],
    )
    exclude_prompts: list[Prompt] = Field(
        default=[],
        max_length=500,
        description="Prompts to leave out of those that the edit is computed from. A dry run lists them.",
        examples=[["a fox in the style of noto"]],
    )
    preserve: list[Phrase] = Field(
        default=[],
        max_length=50,
        description="Concepts to preserve in addition to the neighbours that are found automatically.",
    )

    @field_validator("replacement", "generic")
    @classmethod
    def _differs_from_concept(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value not in (None, AUTO) and value.casefold() == str(info.data.get("concept", "")).casefold():
            raise field_error("same_as_concept", "is the concept itself", "Name something else, or leave it out.")
        return value

    @property
    def named_replacement(self) -> str | None:
        """The replacement that the request names; None for `auto` and null."""
        return None if self.replacement == AUTO else self.replacement

    @property
    def chooses_replacement(self) -> bool:
        """Whether a replacement is to be chosen: for an object without a replacement or parent class."""
        return self.kind == "object" and self.replacement == AUTO and self.generic is None

    @property
    def key(self) -> tuple[str, str]:
        """The key by which removals are compared."""
        return self.kind, self.concept.casefold()

    def phrases(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Return every phrase that prompts are built around, with its location in the removal."""
        single = {"concept": self.concept, "replacement": self.named_replacement, "generic": self.generic}
        several: dict[tuple[str, ...], list[str]] = {
            ("aliases",): self.aliases,
            ("titles",): self.titles,
            **{("translations", tag): names for tag, names in self.translations.items()},
            ("spellings",): [] if self.spellings == "auto" else self.spellings,
            ("preserve",): self.preserve,
        }
        named = [(field, text) for field, text in single.items() if text and (field == "concept" or text != AUTO)]
        return [((field,), text) for field, text in named] + [
            ((*field, index), text) for field, texts in several.items() for index, text in enumerate(texts)
        ]
