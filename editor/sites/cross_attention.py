"""Cross-attention keys and values of a UNet: every ``attn2.to_k`` and ``attn2.to_v`` reads the same rows of text.

Stable Diffusion 1 and 2 read one encoder's final states; SDXL reads the states of both encoders before their last layers,
side by side. No family masks the padding, so it is a role of its own.
"""

from collections.abc import Sequence

from editor.checkpoints import Checkpoint
from editor.prompts import PromptBuilder, pair_encoders
from editor.sites.shared_weights import SharedWeights
from editor.sites.stream_site import StreamSite
from editor.sites.streams import ClipStates, SideBySide, Stream

SUFFIXES = (".attn2.to_k.weight", ".attn2.to_v.weight")
BEFORE_LAST_LAYER = ("sdxl", "sd3")
"""Families that read the states of both encoders before their last layers, without the final norm."""
SD2_LAYERS = 23
"""Layers of Stable Diffusion 2's encoder that are used. Original files have one more."""


def find_cross_attention(checkpoint: Checkpoint, builders: Sequence[PromptBuilder]) -> StreamSite | None:
    """Return the site of a model; None if its denoiser has no cross-attention."""
    denoiser = checkpoint.denoiser
    names = tuple(name for name in denoiser.locations if name.endswith(SUFFIXES)) if denoiser else ()
    if denoiser is None or not names or not checkpoint.encoders:
        return None  # behind a text gate, cross-attention reads what the gate makes of the text
    stream = states_stream(checkpoint, builders)
    if any(denoiser.shape(name)[1] != stream.width for name in names):
        return None  # another encoder feeds it, which the checkpoint does not contain
    return StreamSite("cross_attention", stream, SharedWeights(denoiser, names, stream.width))


def states_stream(checkpoint: Checkpoint, builders: Sequence[PromptBuilder]) -> Stream:
    """Return the rows that the denoiser of a model reads from its CLIP text encoders."""
    encoders = pair_encoders(checkpoint, builders)
    if checkpoint.family in BEFORE_LAST_LAYER:
        return SideBySide(
            tuple(ClipStates(source, builder, source.layers - 1, normed=False) for source, builder in encoders)
        )
    source, builder = encoders[0]
    layers = min(source.layers, SD2_LAYERS) if checkpoint.family == "stable-diffusion-2" else source.layers
    return ClipStates(source, builder, layers, normed=True)
