"""Attacks on an edit: what a request may enable, and their results in the report."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from api_schemas.base import ReportModel, Request


class Attack(Request):
    """Settings of one attack."""

    enabled: bool = Field(default=False, description="Run the attack.")
    budget: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Budget in the attack's own unit. Default: the attack's own."
    )
    images: int = Field(
        default=8, ge=1, le=500, description="Number of images that the success rate is estimated from."
    )
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Default: the seed of the request.")


ENABLED = Attack(enabled=True)
DISABLED = Attack()
PluginName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Attacks(Request):
    """Attacks to run. The report lists disabled attacks as not tested."""

    names: Attack = Field(
        default=DISABLED, description="Aliases, titles and spellings, whether or not the edit covers them."
    )
    languages: Attack = Field(default=DISABLED, description="The given translations of the concept.")
    ring_a_bell_transfer: Attack = Field(
        default=DISABLED, description="Ring-A-Bell: prompts found by a genetic search on the original text encoder."
    )
    ring_a_bell_adaptive: Attack = Field(
        default=DISABLED, description="Ring-A-Bell with the search on the edited text encoder."
    )
    adversarial_key: Attack = Field(
        default=DISABLED,
        description="The key that the edited projection maps to the concept's old value, in closed form.",
    )
    inversion_text: Attack = Field(
        default=DISABLED,
        description="Concept inversion: a new token learned through the edited text encoder, without images.",
    )
    inversion_images: Attack = Field(
        default=DISABLED, description="Concept inversion: a new token learned from images of the concept."
    )
    noise_probe: Attack = Field(
        default=DISABLED,
        description="Denoises noised images of the concept under the empty prompt, to tell hidden from erased concepts.",
    )
    encoder_swap: Attack = Field(
        default=DISABLED, description="Puts the original text encoders back before the edited denoiser."
    )
    resurgence: Attack = Field(
        default=DISABLED, description="Fine-tunes on unrelated images and tests the concept again."
    )
    plugins: dict[PluginName, Attack] = Field(default={}, max_length=20, description="Attacks registered by plug-ins.")

    @property
    def disabled_titles(self) -> list[str]:
        """Titles of the built-in attacks that are disabled."""
        return [title for name, title in ATTACK_TITLES.items() if not getattr(self, name).enabled]

    @property
    def by_name(self) -> dict[str, Attack]:
        """Settings of every attack by name, plug-ins last."""
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
    "encoder_swap": "original text encoders put back",
    "resurgence": "resurgence under fine-tuning",
}
"""Titles of the built-in attacks."""


class Rate(ReportModel):
    """A share of images, with its Wilson score interval."""

    hits: int
    n: int
    value: float
    low: float
    high: float


Access = Literal["prompts", "encoder", "weights"]
"""What the attacker has access to: the service only; the original and edited text encoders; all weights."""


class Budget(ReportModel):
    """Allowed and used budget of an attack."""

    unit: str = Field(description="The unit of the budget, such as `prompts encoded`.")
    allowed: int
    spent: int
    published: int | None = Field(description="The budget in the attack's publication; None if it gives none.")


class Attempt(ReportModel):
    """One attempt of an attack."""

    what: str = Field(description="The prompt, or a description of what was done.")
    seed: int
    likeness: float | None = Field(
        None, description="Position in text space: 1 for the concept's own prompts, 0 for unrelated prompts."
    )
    found_before: bool | None = Field(None, description="The judge recognised the concept in the base model's image.")
    found: bool = Field(description="The judge recognised the concept in the edited model's image.")
    score: float = Field(description="Cosine similarity of that image and the concept, by the judge.")


class AttackRecord(ReportModel):
    """One attack on one removal."""

    name: str
    removal: int = Field(description="Index of the removal.")
    access: Access
    source: str = Field(description="Source of the attack, and how this implementation differs from it.")
    seed: int
    budget: Budget
    tried: int = Field(description="Number of candidates; images were generated for the strongest ones.")
    rate: Rate | None = Field(description="Share of the attempts with an image in which the concept was recognised.")
    rate_before: Rate | None = Field(
        description="The same on the base model, where the attack applies to it: the share before the edit."
    )
    strongest: Attempt | None
    attempts: list[Attempt]
    measures: dict[str, float] = Field({}, description="Further figures, by name.")
    tells: str = Field(description="How to interpret success or failure of this attack.")
    skipped: str | None = Field(None, description="Why the attack was skipped; None if it was run.")
