"""Attacks on an edit: what a request may switch on, and what the report says of each."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from api_schemas.base import ReportModel, Request


class Attack(Request):
    """One attack: on or off, and how much it may spend."""

    enabled: bool = Field(default=False, description="Run it.")
    budget: int | None = Field(
        default=None, ge=1, le=1_000_000, description="In the attack's own unit; left out, its default."
    )
    images: int = Field(default=8, ge=1, le=500, description="Images that its success rate rests on.")
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Left out: the request's.")


ENABLED = Attack(enabled=True)
DISABLED = Attack()
PluginName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Attacks(Request):
    """Which attacks are run. What is off is listed in the report as not tested."""

    names: Attack = Field(default=DISABLED, description="Aliases, works and spellings, covered by the edit or not.")
    languages: Attack = Field(default=DISABLED, description="The given names in other languages.")
    ring_a_bell_transfer: Attack = Field(
        default=DISABLED, description="Ring-A-Bell: prompts found by a genetic search on the original encoder."
    )
    ring_a_bell_adaptive: Attack = Field(default=DISABLED, description="Ring-A-Bell: searched on the edited encoder.")
    adversarial_key: Attack = Field(
        default=DISABLED,
        description="The key that the edited projection turns into the concept's old value, in closed form.",
    )
    inversion_text: Attack = Field(
        default=DISABLED,
        description="Concept inversion: a new token, learned through the edited encoder, without images.",
    )
    inversion_images: Attack = Field(
        default=DISABLED, description="Concept inversion: a new token, learned from images of the concept."
    )
    noise_probe: Attack = Field(
        default=DISABLED, description="From noised images of the concept, under the empty prompt: hidden or gone?"
    )
    resurgence: Attack = Field(default=DISABLED, description="Fine-tuning on unrelated images, then asking again.")
    plugins: dict[PluginName, Attack] = Field(default={}, max_length=20, description="Attacks that others registered.")

    @property
    def disabled_titles(self) -> list[str]:
        """Titles of the built-in attacks that are not run."""
        return [title for name, title in ATTACK_TITLES.items() if not getattr(self, name).enabled]

    @property
    def by_name(self) -> dict[str, Attack]:
        """Every attack's wish by name, plug-ins last."""
        built_in = {name: getattr(self, name) for name in type(self).model_fields if name != "plugins"}
        return built_in | self.plugins


ATTACK_TITLES = {
    "names": "other names and spellings",
    "languages": "names in other languages",
    "ring_a_bell_transfer": "Ring-A-Bell from the original encoder",
    "ring_a_bell_adaptive": "Ring-A-Bell on the edited encoder",
    "adversarial_key": "adversarial keys",
    "inversion_text": "concept inversion from text",
    "inversion_images": "concept inversion from images",
    "noise_probe": "noised images of the concept",
    "resurgence": "resurgence under fine-tuning",
}
"""What people call the built-in attacks."""


class Rate(ReportModel):
    """A share of images, with Wilson's score interval."""

    hits: int
    n: int
    value: float
    low: float
    high: float


Access = Literal["prompts", "encoder", "weights"]
"""What the attacker holds: the service alone; the text encoders, edited and original; all weights."""


class Budget(ReportModel):
    """What an attack was allowed, and what it took."""

    unit: str = Field(description="What is counted, as in `prompts encoded`.")
    allowed: int
    spent: int
    published: int | None = Field(description="What the attack's authors spend; None where there is no such figure.")


class Attempt(ReportModel):
    """One thing that was tried."""

    what: str = Field(description="The prompt, or what was done.")
    seed: int
    likeness: float | None = Field(
        None, description="In text space: 1 is what the concept's own prompts were, 0 is a prompt about anything else."
    )
    found_before: bool | None = Field(None, description="The judge recognised the concept in the base model's image.")
    found: bool = Field(description="The judge recognised the concept in the edited model's image.")
    score: float = Field(description="The judge's similarity of that image to the concept, cosine.")


class AttackRecord(ReportModel):
    """One attack on one removal."""

    name: str
    removal: int = Field(description="Index into the removals.")
    access: Access
    source: str = Field(description="Where the attack is from, and where it departs from that.")
    seed: int
    budget: Budget
    tried: int = Field(description="Candidates, of which the strongest were drawn.")
    rate: Rate | None = Field(description="Share of the drawn attempts in which the concept was recognised.")
    rate_before: Rate | None = Field(
        description="The same on the base model, where the attack means something there: what there was to find."
    )
    strongest: Attempt | None
    attempts: list[Attempt]
    measures: dict[str, float] = Field({}, description="Further figures, by name.")
    tells: str = Field(description="What a success, or a failure, of this attack says.")
    skipped: str | None = Field(None, description="Why it was not run; None where it was.")
