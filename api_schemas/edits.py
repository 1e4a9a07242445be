"""`EditRequest`: which concepts to remove from which model, and what counts as success."""

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


def _check_preservation(value: Any) -> Any:
    """One clear error instead of one for each member of the union."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "auto" or (number and math.isfinite(value) and value > 0):
        return value
    raise field_error("preservation", 'must be a number above 0, or "auto"', 'Leave it out, or send "auto".')


def _check_layer_order(layers: list[int]) -> list[int]:
    """Each layer is solved with the earlier ones edited."""
    if layers != sorted(set(layers)):
        raise field_error("sites", "must name each layer once, first to last", "Send them in order, such as [0, 1].")
    return layers


LanguageTag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
"""BCP 47, as in `fr` or `zh-Hant`."""

Spellings = Annotated[
    Annotated[Literal["auto"], Tag("[auto]")] | Annotated[Annotated[list[Phrase], Field(max_length=50)], Tag("[list]")],
    Discriminator(lambda value: "[auto]" if isinstance(value, str) else "[list]"),
]


Layer = Annotated[int, Field(ge=0, lt=64)]
Sites = Annotated[
    Annotated[Literal["auto"], Tag("[auto]")]
    | Annotated[
        Annotated[list[Layer], Field(min_length=1, max_length=8)], AfterValidator(_check_layer_order), Tag("[list]")
    ],
    Discriminator(lambda value: "[auto]" if isinstance(value, str) else "[list]"),
]


class Removal(Request):
    """One concept to remove, and what the model shall draw in its place."""

    concept: Phrase = Field(
        description="What to remove, as a prompt would name it, without an article.",
        examples=["fox", "ink"],
    )
    kind: Literal["object", "style"] = Field(
        default="object",
        description="`object`: a thing that is drawn. `style`: the hand in which anything is drawn.",
    )
    replacement: Phrase | None = Field(
        default=None, description="The concept that takes its place.", examples=["dog face", "noto"]
    )
    generic: Phrase | None = Field(
        default=None,
        description="The class word that takes its place when no replacement is given. Without either, "
        "prompts that name the concept are treated as if it had not been said (the null concept).",
        examples=["animal"],
    )
    aliases: list[Phrase] = Field(
        default=[],
        max_length=50,
        description="Other names of the concept; they are removed with it.",
        examples=[["vixen"]],
    )
    titles: list[Phrase] = Field(
        default=[],
        max_length=50,
        description="Works that are known by their own names, such as an artist's paintings; they are removed with it.",
        examples=[["The Starry Night", "Cafe Terrace at Night"]],
    )
    translations: dict[LanguageTag, Annotated[list[Phrase], Field(min_length=1, max_length=10)]] = Field(
        default={},
        max_length=20,
        description="Names of the concept in other languages, by language tag; they are removed with it.",
        examples=[{"fr": ["renard"], "de": ["Fuchs"]}],
    )
    spellings: Spellings = Field(
        default="auto",
        description="Ways to spell the names. `auto` makes those that the model's tokenizer tells apart: other "
        "spacing, hyphens, plurals, frequent misspellings. A list is used as it is; an empty one switches them off.",
        examples=["auto", ["foxx"]],
    )
    exclude: list[Phrase] = Field(
        default=[],
        max_length=200,
        description="Names that the expansion must not hold. `expunge prompts` lists what it holds.",
        examples=[["foxes"]],
    )
    preserve: list[Phrase] = Field(
        default=[],
        max_length=50,
        description="Concepts to protect besides the neighbours that are found automatically.",
    )

    @field_validator("replacement", "generic")
    @classmethod
    def _differs_from_concept(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value.casefold() == str(info.data.get("concept", "")).casefold():
            raise field_error("same_as_concept", "is the concept itself", "Name something else, or leave it out.")
        return value

    @property
    def key(self) -> tuple[str, str]:
        """What makes two removals the same one."""
        return self.kind, self.concept.casefold()

    def phrases(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Each phrase that a prompt will be built around, with its location inside of the removal."""
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
        description="`default`: our solve, with preservation. `paper`: the published procedure to the "
        "letter, for comparison.",
    )
    preservation: Annotated[float | Literal["auto"], BeforeValidator(_check_preservation)] = Field(
        default="auto",
        description="Weight of everything that must stay, above 0. More keeps more and removes less. `auto` "
        "searches for it on held-out prompts.",
    )
    aim: Literal["attention", "residual", "last_layer"] = Field(
        default="attention",
        description="What becomes equal to the destination's: the attention's output at the edited layer, the residual "
        "stream after it, or the encoder's last states (slower: passes through all layers).",
    )
    sites: Sites = Field(
        default=[0],
        description="Text encoder layers whose attention output is edited, first to last. `auto` takes the layer that "
        "the trace of the concept separates from all others, else the first; the report gives the reason.",
        examples=[[0], "auto"],
    )
    pins: list[Prompt] = Field(
        default=[],
        max_length=16,
        description="Prompts that must not change at all: what the encoder makes of them stays equal.",
        examples=[["a photograph of the town hall"]],
    )


class Thresholds(Request):
    """What the verdict is judged against. Fixed before the run, and repeated in the report."""

    target_accuracy: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="The removed concept is recognised in at most this share of images.",
    )
    retain_drop: float = Field(
        default=0.03, ge=0, le=1, description="Accuracy on everything else may fall by at most this much."
    )
    neighbour_drop: float = Field(
        default=0.10,
        ge=0,
        le=1,
        description="Accuracy on the concept's nearest neighbours may fall by at most this much.",
    )
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1, description="Confidence level of the intervals that decide the verdict."
    )


class Validation(Request):
    """How the claim is tested: images before and after, scored by a judge that was not edited."""

    enabled: bool = Field(default=True, description="Without validation there is no verdict.")
    seeds: int = Field(default=1, ge=1, le=16, description="Images per prompt.")
    prompts: int = Field(
        default=192,
        ge=1,
        le=2000,
        description="At most this many prompts about each removed concept, in wordings that the edit saw, in others, and "
        "about its neighbours.",
    )
    steps: int = Field(default=20, ge=1, le=150, description="Sampler steps per image.")
    guidance: float = Field(default=3.0, ge=1, le=20, description="Classifier-free guidance scale.")
    retain_prompts: int = Field(
        default=400,
        ge=0,
        le=2000,
        description="At most this many unrelated prompts are checked for collateral damage.",
    )
    attacks: Attacks = Attacks()
    detectors: Detectors = Detectors()
    features: bool = Field(
        default=False,
        description="Score features inside of the model, by a sparse autoencoder and a classifier that were trained on the "
        "unedited one. Those of the embedded model ship with it; for another there are none, and the report says so.",
    )
    thresholds: Thresholds = Thresholds()
    policy: PolicyName | None = Field(
        default=None, description="A named policy whose gates take the place of the thresholds.", examples=["strict"]
    )
    gates: list[Gate] | None = Field(
        default=None, min_length=1, max_length=20, description="Gates that take the place of the thresholds."
    )
    sequential: bool = Field(
        default=True, description="Drawing stops as soon as every gate is settled. Off: every prompt is drawn."
    )
    publish_policy: PublishPolicy | None = Field(
        default=None,
        description="What a verdict that is not `passed` does: `always` publishes all the same, `only_if_passed` publishes the "
        "report alone. Left out: what the policy says, else `always`.",
    )

    @field_validator("gates")
    @classmethod
    def _one_source(cls, gates: list[Gate] | None, info: ValidationInfo) -> list[Gate] | None:
        if gates and info.data.get("policy"):
            raise field_error("two_policies", "can't be given beside a policy", "Send gates or a policy, not both.")
        return gates

    @field_validator("publish_policy")
    @classmethod
    def _needs_a_verdict(cls, asked: PublishPolicy | None, info: ValidationInfo) -> PublishPolicy | None:
        if asked == "only_if_passed" and not info.data.get("enabled", True):
            raise field_error("no_verdict", "needs a verdict, and validation is off", "Switch validation on.")
        return asked


def _labelled(removals: Sequence[Removal]) -> list[LabelledRemoval]:
    return [LabelledRemoval(f"removals[{i}]", removal) for i, removal in enumerate(removals)]


def _refuse_errors(conflicts: Iterable[Conflict]) -> None:
    """Raise for the first conflict that nothing but the caller can solve."""
    for conflict in conflicts:
        if conflict.severity == "error":
            raise field_error("contradiction", "{conflict}", conflict.remedy, conflict=conflict.message)


ModelName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="The id of a registered base model; `GET /v1/models` lists them.",
    ),
]
Priority: TypeAlias = Literal["high", "normal", "low"]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16, description="Your own labels, kept with the job: at most 16, of 64 and 512 characters."),
]

MAX_REMOVALS = 1000
"""In one request."""


class EditRequest(Request):
    """The body of `POST /v1/edits`."""

    model: ModelName = "emoji"
    removals: list[Removal] = Field(
        min_length=1, max_length=MAX_REMOVALS, description="The concepts to remove, together."
    )
    ledger: bool = Field(
        default=False,
        description="Whether these removals join your ledger of the model, until they are revoked. The weights then carry "
        "all that holds there, and are its next revision.",
    )
    options: EditOptions = EditOptions()
    validation: Validation = Validation()
    withhold_names: bool = Field(
        default=False,
        description="Whether names stay out of what is published: stand-ins and salted digests take their place, and only "
        "`report.private.json` has them. For names that are somebody's personal data.",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="The same request with the same seed gives the same files."
    )
    priority: Priority = Field(
        default="normal", description="What waits is started by priority; what runs already goes on."
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
        """What is removed can neither be kept nor be drawn in the place of something else."""
        _refuse_errors(find_name_conflicts(_labelled(removals)))
        return removals

    @field_validator("options")
    @classmethod
    def _pins_name_nothing_removed(cls, options: EditOptions, info: ValidationInfo) -> EditOptions:
        """What must not change can't name what is removed."""
        index = name_index(_labelled(info.data.get("removals", [])))
        for place, pin in enumerate(options.pins):
            _refuse_errors(find_removed_pins(index, place, pin))
        return options

    @field_validator("options")
    @classmethod
    def _fits_ledger(cls, options: EditOptions, info: ValidationInfo) -> EditOptions:
        """A ledger is a sum over the original first layer."""
        if info.data.get("ledger") and (options.preset == "paper" or options.sites != [0]):
            raise field_error("ledger_options", "do not add up in a ledger", "Leave preset and sites out.")
        return options

    def digest(self) -> str:
        """`sha256:…` over the canonical JSON: what idempotency and deduplication compare."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
