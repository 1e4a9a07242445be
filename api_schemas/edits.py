"""`EditRequest`: the concepts to remove from a model, and how to evaluate the removal."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
)

from api_schemas.attacks import Attacks
from api_schemas.base import Phrase, Prompt, Request, field_error
from api_schemas.conflicts import Conflict, LabelledRemoval, find_name_conflicts, find_removed_pins, name_index
from api_schemas.detectors import Detectors
from api_schemas.gates import Gate, PolicyName, PublishPolicy
from api_schemas.kinds import KIND_DESCRIPTION, ConceptKind


def _check_preservation(value: Any) -> Any:
    """Report one error instead of one per member of the union."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "auto" or (number and math.isfinite(value) and value > 0):
        return value
    raise field_error("preservation", 'must be a number above 0, or "auto"', 'Leave it out, or send "auto".')


def _check_layer_order(layers: list[int]) -> list[int]:
    """Check that layers are ascending, because each is solved with the earlier ones edited."""
    if layers != sorted(set(layers)):
        raise field_error("sites", "must name each layer once, first to last", "Send them in order, such as [0, 1].")
    return layers


LanguageTag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
"""A BCP 47 tag, such as `fr` or `zh-Hant`."""

Spellings = Annotated[
    Annotated[Literal["auto"], Tag("[auto]")] | Annotated[Annotated[list[Phrase], Field(max_length=50)], Tag("[list]")],
    Discriminator(lambda value: "[auto]" if isinstance(value, str) else "[list]"),
]


LikenessName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Layer = Annotated[int, Field(ge=0, lt=64)]
Sites = Annotated[
    Annotated[Literal["auto"], Tag("[auto]")]
    | Annotated[
        Annotated[list[Layer], Field(min_length=1, max_length=8)], AfterValidator(_check_layer_order), Tag("[list]")
    ],
    Discriminator(lambda value: "[auto]" if isinstance(value, str) else "[list]"),
]


class Removal(Request):
    """A concept to remove, and its replacement."""

    concept: Phrase = Field(
        description="The concept as a prompt would name it, without an article.", examples=["fox", "ink"]
    )
    kind: ConceptKind = Field(default="object", description=KIND_DESCRIPTION)
    replacement: Phrase | None = Field(
        default=None,
        description="The concept that prompts for the removed concept map to.",
        examples=["dog face", "noto"],
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
    preserve: list[Phrase] = Field(
        default=[],
        max_length=50,
        description="Concepts to preserve in addition to the neighbours that are found automatically.",
    )

    @field_validator("replacement", "generic")
    @classmethod
    def _differs_from_concept(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value.casefold() == str(info.data.get("concept", "")).casefold():
            raise field_error("same_as_concept", "is the concept itself", "Name something else, or leave it out.")
        return value

    @property
    def key(self) -> tuple[str, str]:
        """The key by which removals are compared."""
        return self.kind, self.concept.casefold()

    def phrases(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Return every phrase that prompts are built around, with its location in the removal."""
        single = {"concept": self.concept, "replacement": self.replacement, "generic": self.generic}
        several: dict[tuple[str, ...], list[str]] = {
            ("aliases",): self.aliases,
            ("titles",): self.titles,
            **{("translations", tag): names for tag, names in self.translations.items()},
            ("spellings",): [] if self.spellings == "auto" else self.spellings,
            ("preserve",): self.preserve,
        }
        return [((field,), text) for field, text in single.items() if text is not None] + [
            ((*field, index), text) for field, texts in several.items() for index, text in enumerate(texts)
        ]


class EditOptions(Request):
    """How the edit is computed."""

    preset: Literal["default", "paper"] = Field(
        default="default",
        description="`default`: the preserving solver. `paper`: the published procedure without changes, for comparison.",
    )
    preservation: Annotated[float | Literal["auto"], BeforeValidator(_check_preservation)] = Field(
        default="auto",
        description="Weight of the preservation term (> 0). Larger values preserve unrelated prompts better and erase less. "
        "`auto` searches for it on held-out prompts.",
    )
    aim: Literal["attention", "residual", "last_layer"] = Field(
        default="attention",
        description="Which activation is matched to that of the replacement's prompt: the edited layer's attention output "
        "(`attention`), the residual stream after it (`residual`), or the encoder's final hidden states (`last_layer`, "
        "slower, as it passes through all layers).",
    )
    sites: Sites = Field(
        default=[0],
        description="Text encoder layers whose attention output is edited, in ascending order. `auto` uses the layer that the "
        "trace of the concept identifies as causal, or the first layer if it is not separated from the others; the report "
        "gives the reason.",
        examples=[[0], "auto"],
    )
    pins: list[Prompt] = Field(
        default=[],
        max_length=16,
        description="Prompts whose text embeddings must not change at all.",
        examples=[["a photograph of the town hall"]],
    )


class Thresholds(Request):
    """Thresholds of the verdict, fixed before the run and repeated in the report."""

    target_accuracy: float = Field(
        default=0.05, ge=0, le=1, description="Maximum share of images in which the removed concept is recognised."
    )
    retain_drop: float = Field(default=0.03, ge=0, le=1, description="Maximum drop in accuracy on unrelated prompts.")
    neighbour_drop: float = Field(
        default=0.10, ge=0, le=1, description="Maximum drop in accuracy on the concept's nearest neighbours."
    )
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1, description="Confidence level of the intervals that decide the verdict."
    )


ImageSide = Annotated[int, Field(ge=64, le=4096, multiple_of=32)]
"""Pixels. Every family accepts multiples of 32."""


class Validation(Request):
    """How the edit is evaluated: images before and after, scored by a judge that was not edited."""

    enabled: bool = Field(default=True, description="Evaluate the edit. Without validation there is no verdict.")
    seeds: int = Field(default=1, ge=1, le=16, description="Images per prompt.")
    prompts: int = Field(
        default=192,
        ge=1,
        le=2000,
        description="Maximum number of prompts per removed concept in each of the groups target, generality and neighbours.",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        le=150,
        description="Sampler steps per image. Default: those of the model's profile, else of its family.",
    )
    guidance: float | None = Field(
        default=None,
        ge=0,
        le=20,
        description="Guidance scale; 0 or 1 for none. Default: that of the model's profile, else of its family.",
    )
    height: ImageSide | None = Field(
        default=None,
        description="Height of an image in pixels, with `width`. Default: the size the model was trained on.",
    )
    width: ImageSide | None = Field(
        default=None,
        validate_default=True,
        description="Width of an image in pixels, with `height`. Default: the size the model was trained on.",
    )
    retain_prompts: int = Field(
        default=400,
        ge=0,
        le=2000,
        description="Maximum number of unrelated prompts that are checked for collateral damage.",
    )
    attacks: Attacks = Attacks()
    detectors: Detectors = Detectors()
    likeness: LikenessName | None = Field(
        default=None,
        description="An installed likeness judge that recognises removed persons by their faces. Without one, the judge "
        "recognises them by name.",
    )
    features: bool = Field(
        default=False,
        description="Score features inside the model with a sparse autoencoder and a classifier that were trained on the "
        "unedited model. They are available for the embedded model and for calibrated models; for others the report says "
        "that there are none.",
    )
    thresholds: Thresholds = Thresholds()
    policy: PolicyName | None = Field(
        default=None, description="A named policy whose gates replace the thresholds.", examples=["strict"]
    )
    gates: list[Gate] | None = Field(
        default=None, min_length=1, max_length=20, description="Gates that replace the thresholds."
    )
    sequential: bool = Field(
        default=True,
        description="Stop generating images as soon as every gate is decided. If false, images are generated for every prompt.",
    )
    publish_policy: PublishPolicy | None = Field(
        default=None,
        description="What to publish if the verdict is not `passed`: everything (`always`) or the report only "
        "(`only_if_passed`). Default: the policy's setting, or `always`.",
    )

    @field_validator("gates")
    @classmethod
    def _one_source(cls, gates: list[Gate] | None, info: ValidationInfo) -> list[Gate] | None:
        if gates and info.data.get("policy"):
            raise field_error("two_policies", "cannot be combined with a policy", "Send gates or a policy, not both.")
        return gates

    @field_validator("width")
    @classmethod
    def _needs_both_sides(cls, width: int | None, info: ValidationInfo) -> int | None:
        if (width is None) != (info.data.get("height") is None):
            raise field_error("incomplete_size", "must be given together with height", "Send both, or neither.")
        return width

    @field_validator("publish_policy")
    @classmethod
    def _needs_a_verdict(cls, publish_policy: PublishPolicy | None, info: ValidationInfo) -> PublishPolicy | None:
        if publish_policy == "only_if_passed" and not info.data.get("enabled", True):
            raise field_error("no_verdict", "needs a verdict, and validation is off", "Enable validation.")
        return publish_policy


def _label_removals(removals: Sequence[Removal]) -> list[LabelledRemoval]:
    return [LabelledRemoval(f"removals[{i}]", removal) for i, removal in enumerate(removals)]


def _refuse_errors(conflicts: Iterable[Conflict]) -> None:
    """Raise for the first conflict of severity `error`."""
    for conflict in conflicts:
        if conflict.severity == "error":
            raise field_error("contradiction", "{conflict}", conflict.remedy, conflict=conflict.message)


ModelName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="The id of a registered base model, as listed by `GET /v1/models`.",
    ),
]
Priority: TypeAlias = Literal["high", "normal", "low"]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(
        max_length=16,
        description="Your own labels, stored with the job: at most 16 keys of 64 characters with values of 512 characters.",
    ),
]

MAX_REMOVALS = 1000
"""Per request."""


class EditRequest(Request):
    """The body of `POST /v1/edits`."""

    model: ModelName = "emoji"
    removals: list[Removal] = Field(
        min_length=1, max_length=MAX_REMOVALS, description="The concepts to remove, solved jointly."
    )
    ledger: bool = Field(
        default=False,
        description="Add these removals to your ledger of the model until they are revoked. The weights then include every "
        "active removal and form the ledger's next revision.",
    )
    options: EditOptions = EditOptions()
    validation: Validation = Validation()
    withhold_names: bool = Field(
        default=False,
        description="Replace names by placeholders and salted digests in everything that is published; only "
        "`report.private.json` has them. Use it for names that are personal data.",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="The same request with the same seed gives the same files."
    )
    priority: Priority = Field(
        default="normal", description="Order in which queued jobs start. Running jobs are not interrupted."
    )
    metadata: Metadata = Field(default={})

    @field_validator("removals")
    @classmethod
    def _no_duplicates(cls, removals: list[Removal]) -> list[Removal]:
        ((_, concept), count), *_ = Counter(removal.key for removal in removals).most_common(1)
        if count > 1:
            raise field_error("duplicate", 'names "{concept}" twice', "Name each concept once.", concept=concept)
        return removals

    @field_validator("removals")
    @classmethod
    def _no_contradictions(cls, removals: list[Removal]) -> list[Removal]:
        """Reject removed concepts that are also preserved or used as a replacement."""
        _refuse_errors(find_name_conflicts(_label_removals(removals)))
        return removals

    @field_validator("options")
    @classmethod
    def _pins_name_nothing_removed(cls, options: EditOptions, info: ValidationInfo) -> EditOptions:
        """Reject pinned prompts that name a removed concept."""
        index = name_index(_label_removals(info.data.get("removals", [])))
        for position, pin in enumerate(options.pins):
            _refuse_errors(find_removed_pins(index, position, pin))
        return options

    @field_validator("options")
    @classmethod
    def _fits_ledger(cls, options: EditOptions, info: ValidationInfo) -> EditOptions:
        """Reject options that a ledger does not support: it sums statistics of the original first layer."""
        if info.data.get("ledger") and (options.preset == "paper" or options.sites != [0]):
            raise field_error("ledger_options", "cannot be combined in a ledger", "Leave preset and sites out.")
        return options

    def digest(self) -> str:
        """Return `sha256:…` over the canonical JSON, which identifies equal requests."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
