"""Put the trained parts together as a ``StableDiffusionPipeline`` folder, and the judge in a folder of its own."""

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
FULL_PRECISION = "layers.0.self_attn.out_proj.weight"
"""The tensor that edits change stays float32: then delta, LoRA and full weights agree to rounding."""

PIXELS: dict[str, object] = {
    "image_processor_type": "CLIPImageProcessor",
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}
PIXELS |= {"size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}}
"""How the judge wants its pixels: from -1 to 1."""


def text_encoder_of(clip: CLIPModel) -> CLIPTextModel:
    """The text half of a CLIP as the class that pipelines use."""
    encoder = CLIPTextModel(clip.config.text_config)
    encoder.load_state_dict(clip.text_model.state_dict())
    return encoder.eval()


def shrink(file: Path) -> None:
    """Store a weights file as float16, but for the tensor that edits change."""
    tensors = {
        name: (tensor if name.endswith(FULL_PRECISION) else tensor.half()).contiguous()
        for name, tensor in load_file(file).items()
    }
    save_file(tensors, file, metadata={"format": "pt"})


def declare_float32(config: Path) -> None:
    """Have transformers compute in float32 whatever the file stores."""
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
        shrink(file)
    declare_float32(folder / "text_encoder" / "config.json")
    (folder / "model_index.json").write_text(json.dumps(index(), indent=2) + "\n")
    (folder / PROFILE_FILE).write_text(PROFILE.model_dump_json(indent=2) + "\n")
    shutil.copyfile(CARD, folder / "README.md")


def index() -> dict[str, object]:
    """``model_index.json``."""
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
    shrink(folder / "model.safetensors")
    declare_float32(folder / "config.json")
    (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS, indent=2) + "\n")
