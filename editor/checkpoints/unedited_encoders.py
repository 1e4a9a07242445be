"""Text encoders beside CLIP, through which a concept still reaches the image: T5 in SD3 and FLUX."""

from dataclasses import dataclass

from editor.checkpoints.key_mapping import Family

SHARES: dict[Family, tuple[float, str]] = {
    "sd3": (256 / 333, "256 of the 333 tokens that condition the image"),
    "flux": (1.0, "all 512 tokens that condition the image; CLIP gives the pooled vector only"),
}
"""diffusers' ``StableDiffusion3Pipeline`` puts 77 CLIP tokens before 256 of T5, ``FluxPipeline`` has none of CLIP's."""


@dataclass(frozen=True)
class SecondWay:
    """An encoder that the edit does not change."""

    component: str
    share: float
    """Of the conditioning sequence, 0 to 1."""
    sentence: str
    """For the report's limits."""


def t5(component: str, family: Family) -> SecondWay:
    """T5 in a model of some family. Beside a lone CLIP file it may supply all."""
    share, what = SHARES.get(family, (1.0, "up to all tokens that condition the image"))
    return SecondWay(
        component,
        share,
        f"The model reads each prompt a second time with T5 ({component}), which supplies {what}. "
        "T5 is not edited, and a removed concept can come back through it.",
    )
