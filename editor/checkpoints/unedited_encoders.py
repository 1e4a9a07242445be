"""Text encoders that the edit does not change, through which a concept can still reach the image.

These are T5, the language models of families without CLIP, and a CLIP text encoder of SDXL or SD3 that a single file does not
contain.
"""

from dataclasses import dataclass

from editor.checkpoints.key_mapping import Family

T5_SHARES: dict[Family, tuple[float, str]] = {
    "sd3": (256 / 333, "256 of the 333 tokens that condition the image"),
    "flux": (1.0, "all 512 tokens that condition the image; CLIP contributes the pooled vector only"),
}
"""T5's share of the conditioning sequence. diffusers' ``StableDiffusion3Pipeline`` concatenates 77 CLIP tokens and 256 T5
tokens; ``FluxPipeline`` uses no CLIP tokens."""

CLIP_SHARES: dict[tuple[Family, str], float] = {
    ("sdxl", "text_encoder"): 768 / 2048,
    ("sdxl", "text_encoder_2"): 1280 / 2048,
    ("sd3", "text_encoder"): 77 / 333 * 768 / 2048,
    ("sd3", "text_encoder_2"): 77 / 333 * 1280 / 2048,
}
"""The share of each of two CLIP text encoders, whose states (768 and 1280 wide) are concatenated for 77 tokens."""


@dataclass(frozen=True)
class UneditedEncoder:
    """A text encoder that the edit does not change."""

    component: str
    share: float
    """Its share of the conditioning sequence, 0 to 1."""
    limitation: str
    """The sentence about it in the report."""


def t5_encoder(component: str, family: Family) -> UneditedEncoder:
    """Return the T5 encoder of a model family. Next to a lone CLIP file it may supply every token."""
    share, tokens = T5_SHARES.get(family, (1.0, "up to all tokens that condition the image"))
    return UneditedEncoder(
        component,
        share,
        f"The model also encodes each prompt with T5 ({component}), which supplies {tokens}. "
        "T5 is not edited, so a removed concept can come back through it.",
    )


def sequence_encoder(component: str, model_type: str) -> UneditedEncoder:
    """Return the only text encoder of a family without CLIP."""
    return UneditedEncoder(
        component,
        1.0,
        f"The model encodes each prompt with {model_type} ({component}) alone, which is not edited. A removed concept comes "
        "back through it unless the text gate is edited.",
    )


def absent_clip_encoder(component: str, family: Family) -> UneditedEncoder:
    """Return a CLIP text encoder of the family that a single file does not contain."""
    return UneditedEncoder(
        component,
        CLIP_SHARES[family, component],
        f"The model also encodes each prompt with a second CLIP text encoder ({component}), which the file does not contain. "
        "It is not edited, so a removed concept can come back through it.",
    )
