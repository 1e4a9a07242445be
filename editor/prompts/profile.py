"""The objects and styles that a model can generate, from which edit prompts and retain prompts are built.

A model folder may contain its own profile, ``expunge.json``; other models use a general one.
"""

from pathlib import Path
from string import Formatter

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from editor.errors import CheckpointError

PROFILE_FILE = "expunge.json"


class Profile(BaseModel):
    """Objects, styles and wordings. Wordings have the fields ``{a}`` (with article), ``{bare}`` and ``{style}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objects: dict[str, tuple[str, ...]] = Field(description="Group -> objects of similar appearance or meaning.")
    styles: tuple[str, ...]
    default_style: str | None = Field(None, description="What a prompt without a style draws, if that is one of them.")
    styled_wordings: tuple[str, ...] = Field(description="Name an object and a style.")
    plain_wordings: tuple[str, ...] = Field(description="Name an object alone.")
    held_out_wordings: tuple[str, ...] = Field(description="Styled wordings that no edit sees: they test generality.")
    suffixes: tuple[str, ...] = Field(("",), description="What may follow a wording; the empty one first.")
    prefixes: tuple[str, ...] = Field(
        ("",), description="What may precede a wording, of several lengths: they move the subject to later positions."
    )
    style_contexts: int = Field(
        96,
        ge=1,
        description="Prompts that a style is edited in, for each of its names: a style is spread over all objects.",
    )

    @field_validator("styled_wordings", "plain_wordings", "held_out_wordings")
    @classmethod
    def _check_wording_fields(cls, wordings: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        wanted = set() if info.field_name == "plain_wordings" else {"style"}
        for wording in wordings:
            fields = {field for _, field, _, _ in Formatter().parse(wording) if field is not None}
            if fields not in (wanted | {"a"}, wanted | {"bare"}):
                raise ValueError(f"{wording!r} must contain {{a}} or {{bare}}" + (", and {style}" if wanted else ""))
        return wordings

    @model_validator(mode="after")
    def _check_held_out_wordings(self) -> "Profile":
        shared = {*self.held_out_wordings} & {*self.styled_wordings, *self.plain_wordings}
        if shared:
            raise ValueError(f"held-out wordings must not be among the other wordings: {sorted(shared)}")
        return self

    @property
    def object_names(self) -> tuple[str, ...]:
        """All objects, group by group."""
        return tuple(name for names in self.objects.values() for name in names)


GENERAL_PROFILE = Profile(
    objects={
        "animals": ("cat", "dog", "horse", "cow", "sheep", "bird", "fish", "bear", "elephant", "lion", "rabbit", "mouse"),
        "people": ("man", "woman", "child", "doctor", "teacher", "farmer", "soldier", "king", "singer", "dancer"),
        "vehicles": ("car", "truck", "bus", "bicycle", "motorcycle", "train", "airplane", "boat", "helicopter", "rocket"),
        "food": ("apple", "banana", "pizza", "cake", "bread", "sandwich", "carrot", "cheese", "ice cream", "coffee"),
        "things": ("chair", "table", "bed", "lamp", "book", "clock", "bottle", "cup", "guitar", "camera", "umbrella"),
        "places": ("house", "castle", "church", "bridge", "street", "beach", "mountain", "forest", "garden", "city"),
        "plants": ("tree", "flower", "rose", "sunflower", "cactus", "grass", "mushroom", "palm tree"),
    },
    styles=(
        "Vincent van Gogh", "Claude Monet", "Pablo Picasso", "Salvador Dali", "Rembrandt", "Andy Warhol", "Leonardo da Vinci",
        "Katsushika Hokusai", "Edvard Munch", "watercolor", "pencil sketch", "pixel art", "anime", "photograph",
    ),
    styled_wordings=("{a} in the style of {style}", "{a}, {style}", "{style} style {bare}", "a painting of {a} by {style}"),
    plain_wordings=("{bare}", "{a}", "a photo of {a}", "an image of {a}", "a picture of {a}"),
    held_out_wordings=("a drawing of {a} in the style of {style}", "{bare} by {style}", "{a}, art in the {style} style"),
    suffixes=("", " on a table", " in a forest", " at night"),
    prefixes=(
        "",
        "masterpiece, best quality, highly detailed, ",
        "award winning photography, soft lighting, sharp focus, 8k, high resolution, centered, ",
        "a wide shot of a quiet place early in the morning, cinematic light, shallow depth of field, film grain, "
        "trending on artstation, intricate, elegant, realistic, ultra hd, ",
    ),
)  # fmt: skip
"""The profile of models without one."""


def load_profile(model_dir: Path) -> Profile:
    """Return the model's own profile, or the general one.

    Raises:
        CheckpointError: the model's profile does not match the schema.
    """
    path = model_dir / PROFILE_FILE
    if not path.exists():
        return GENERAL_PROFILE
    try:
        return Profile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(
            f"{path} is not a valid profile: {error}.",
            field="model",
            remedy="See docs/reference/profiles.md, or delete the file.",
        ) from error
