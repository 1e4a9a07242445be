"""Write the trained parts as a ``StableDiffusionPipeline`` folder and a judge folder. Imported by ``research.emoji.build``."""

import json
import shutil
from pathlib import Path

from diffusers import AutoencoderTiny, DPMSolverMultistepScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from editor.emoji.artwork import SIZE
from editor.emoji.profile import PROFILE
from editor.prompts.profile import PROFILE_FILE
from research.emoji.train_unet import SCHEDULE

CARD = Path(__file__).parent / "card.md"
FLOAT32_TENSOR = "layers.0.self_attn.out_proj.weight"
"""The tensor that edits change stays float32, so that delta, LoRA and full weights agree up to rounding."""

IMAGE_PROCESSOR: dict[str, object] = {
    "image_processor_type": "CLIPImageProcessor",
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}
IMAGE_PROCESSOR |= {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}}
"""Image processor of the judge, which scales pixels to [-1, 1]."""


def extract_text_encoder(clip: CLIPModel) -> CLIPTextModel:
    """Return a CLIP's text encoder as the class that pipelines use."""
    encoder = CLIPTextModel(clip.config.text_config)
    encoder.load_state_dict(clip.text_model.state_dict())
    return encoder.eval()


def store_as_float16(file: Path) -> None:
    """Rewrite a weights file in float16, except for the tensor that edits change."""
    tensors = {
        name: (tensor if name.endswith(FLOAT32_TENSOR) else tensor.half()).contiguous()
        for name, tensor in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})


def declare_float32(config: Path) -> None:
    """Make transformers compute in float32, whatever the file's dtype."""
    values = json.loads(config.read_text())
    values["dtype"] = "float32"
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


def save_pipeline(
    folder: Path,
    tokenizer: CLIPTokenizer,
    encoder: CLIPTextModel,
    autoencoder: AutoencoderTiny,
    unet: UNet2DConditionModel,
) -> None:
    """Write the folder that ``StableDiffusionPipeline.from_pretrained`` loads."""
    scheduler = DPMSolverMultistepScheduler(**SCHEDULE, algorithm_type="dpmsolver++", timestep_spacing="trailing")
    parts = {"tokenizer": tokenizer, "text_encoder": encoder, "vae": autoencoder, "unet": unet, "scheduler": scheduler}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    for file in folder.rglob("*.safetensors"):
        store_as_float16(file)
    declare_float32(folder / "text_encoder" / "config.json")
    (folder / "model_index.json").write_text(json.dumps(make_model_index(), indent=2) + "\n")
    (folder / PROFILE_FILE).write_text(PROFILE.model_dump_json(indent=2) + "\n")
    shutil.copyfile(CARD, folder / "README.md")


def make_model_index() -> dict[str, object]:
    """Return the content of ``model_index.json``."""
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.36.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }


def save_judge(folder: Path, tokenizer: CLIPTokenizer, judge: CLIPModel) -> None:
    """Write the judge's folder."""
    judge.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    store_as_float16(folder / "model.safetensors")
    declare_float32(folder / "config.json")
    (folder / "preprocessor_config.json").write_text(json.dumps(IMAGE_PROCESSOR, indent=2) + "\n")
