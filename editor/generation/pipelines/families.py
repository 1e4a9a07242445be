"""The configuration of a single-file checkpoint: the files of its family, which are shipped, and its prediction type."""

from pathlib import Path
from typing import Any

from editor.checkpoints.safe_paths import read_json
from editor.errors import CheckpointError
from editor.generation.pipelines.parts import Part

FAMILIES = Path(__file__).parents[1] / "families"
"""A diffusers folder of each family without weights: the geometry and the scheduler of the released models."""
SD2_CONTEXT_WIDTH = 1024
SD3_LARGE_BLOCK = "joint_blocks.37.x_block.mlp.fc1.weight"
V_PREDICTION_BIAS = "output_blocks.11.1.transformer_blocks.0.norm1.bias"
V_PREDICTION_STD = 0.09
"""Stable Diffusion 2 does not state its prediction type. The bias of this norm is spread wider in the v-prediction models than
in the epsilon models, which ComfyUI uses to tell them apart (``comfy/supported_models.py``, ``SD20``)."""
INPUT_CHANNELS = {"input_blocks.0.0.weight": 4, "conv_in.weight": 4, "img_in.weight": 64}
"""Input channels of text-to-image models, by the tensor that shows them. Inpainting and control models have more."""


def family_folder(denoiser: Part) -> Path:
    """Return the shipped folder of a denoiser's family.

    Raises:
        CheckpointError: the model needs an image as input, or the family is unknown.
    """
    shapes = denoiser.shapes
    check_input_channels(denoiser, shapes)
    return FAMILIES / name_family(denoiser, shapes)


def name_family(denoiser: Part, shapes: dict[str, tuple[int, ...]]) -> str:
    """Return the family of a denoiser, from the names and shapes of its tensors."""
    if any(name.startswith(("joint_blocks.", "pos_embed.proj")) for name in shapes):
        return name_sd3(shapes)
    if any(name.startswith(("double_blocks.", "single_transformer_blocks.")) for name in shapes):
        guided = any("guidance_" in name for name in shapes)
        return "flux-dev" if guided else "flux-schnell"
    if "label_emb.0.0.weight" in shapes or "add_embedding.linear_1.weight" in shapes:
        return "sdxl"
    widths = [shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")]
    if not widths:
        raise CheckpointError(
            f"{denoiser.path} contains a denoiser of an unsupported family.",
            field="model",
            remedy="Use a single file of Stable Diffusion 1 or 2, SDXL, SD3, SD3.5 or FLUX.1, or a diffusers folder.",
        )
    if widths[0] != SD2_CONTEXT_WIDTH:
        return "stable-diffusion-1"
    return "stable-diffusion-2" if predicts_velocity(denoiser) else "stable-diffusion-2-base"


def name_sd3(shapes: dict[str, tuple[int, ...]]) -> str:
    """Return the release of an SD3 model: the second attention marks 3.5 medium, the depth 3.5 large."""
    if any(".attn2." in name for name in shapes):
        return "sd3.5-medium"
    is_large = SD3_LARGE_BLOCK in shapes or any(name.startswith("transformer_blocks.37.") for name in shapes)
    return "sd3.5-large" if is_large else "sd3"


def check_input_channels(denoiser: Part, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError if the denoiser reads more than latents: it needs an image, a mask or a control image."""
    for name, channels in INPUT_CHANNELS.items():
        if name in shapes and shapes[name][1] > channels:
            raise CheckpointError(
                f"{denoiser.path} is an inpainting or control model: it can't generate images from prompts alone.",
                field="model",
                remedy="Use the text-to-image model, or turn validation off.",
            )


def scheduler_changes(denoiser: Part) -> dict[str, Any]:
    """Return the settings in which the scheduler of a file differs from its family's.

    Files trained for v-prediction contain a tensor ``v_pred``, and ``ztsnr`` if the last step is pure noise, or state the type
    in their metadata (``modelspec.prediction_type``).
    """
    changes: dict[str, Any] = {}
    if predicts_velocity(denoiser):
        changes["prediction_type"] = "v_prediction"
    if "ztsnr" in denoiser.file.layout.spans:
        changes |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return changes


def predicts_velocity(denoiser: Part) -> bool:
    """Return whether a UNet predicts velocity instead of noise."""
    stated = denoiser.file.layout.metadata.get("modelspec.prediction_type")
    if stated or "v_pred" in denoiser.file.layout.spans:
        return stated != "epsilon"
    shapes = denoiser.shapes
    if V_PREDICTION_BIAS not in shapes or "label_emb.0.0.weight" in shapes:
        return False
    keys = [shape for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")]
    is_sd2 = keys[0][1] == SD2_CONTEXT_WIDTH
    return is_sd2 and float(denoiser.file.read(denoiser.prefix + V_PREDICTION_BIAS).float().std()) > V_PREDICTION_STD


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Read the configuration of a component in a folder."""
    return read_json(folder / name / "config.json")
