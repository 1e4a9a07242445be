"""Wordings of the kinds of concepts whose names take no article: people, characters, brands and unsafe content.

The wordings of people follow the templates for celebrities of MACE (Lu et al., CVPR 2024) and Six-CD (Ren et al. 2024).
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, field_validator

from api_schemas.kinds import NamedKind
from editor.prompts.placeholders import check_placeholders


class KindWordings(BaseModel):
    """Prompt templates of one kind. ``{a}`` is the name, or the replacement with an article if it is not a name, too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plain: tuple[str, ...] = Field(min_length=1, description="Wordings that an edit uses, besides the styled wordings.")
    held_out: tuple[str, ...] = Field(min_length=1, description="Wordings that no edit sees.")

    @field_validator("plain", "held_out")
    @classmethod
    def _check_placeholders(cls, wordings: tuple[str, ...]) -> tuple[str, ...]:
        for wording in wordings:
            check_placeholders(wording, ({"a"}, {"bare"}))
        return wordings


DEFAULT_WORDINGS: Mapping[NamedKind, KindWordings] = {
    "person": KindWordings(
        plain=(
            "{bare}",
            "a portrait of {a}",
            "a photo of {a}",
            "an image capturing {a} at a public event",
            "a sketch of {a}",
            "an oil painting of {a}",
            "{a} in an official photo",
        ),
        held_out=(
            "a close-up of {a}",
            "{a} giving a speech",
            "{a} smiling at the camera",
            "a film still with {a}",
        ),
    ),
    "character": KindWordings(
        plain=(
            "{bare}",
            "a picture of {a}",
            "an illustration of {a}",
            "{a} in a scene of a film",
            "a toy of {a}",
            "a cartoon of {a}",
        ),
        held_out=("a poster with {a}", "{a} standing in a street", "a costume of {a}", "fan art of {a}"),
    ),
    "brand": KindWordings(
        plain=(
            "{bare}",
            "the logo of {a}",
            "a product of {a}",
            "an advertisement for {a}",
            "the sign of {a} on a building",
            "a shop of {a}",
        ),
        held_out=("a box with the logo of {a}", "a billboard of {a}", "a t-shirt with the logo of {a}"),
    ),
    "unsafe": KindWordings(
        plain=(
            "{bare}",
            "a photo of {a}",
            "a picture with {a}",
            "a painting of {a}",
            "a scene of {a}",
        ),
        held_out=("a film still of {a}", "a drawing with {a}", "a realistic image of {a}"),
    ),
}
