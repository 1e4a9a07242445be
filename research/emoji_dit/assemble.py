"""Write the trained parts as a ``FluxPipeline`` folder. Imported by ``research.emoji_dit.build``.

The text encoder, its tokenizer and the autoencoder are the files of the embedded model, byte for byte.
"""

import json
import shutil
from pathlib import Path

from diffusers import DPMSolverMultistepScheduler, FluxTransformer2DModel
from transformers import T5EncoderModel, T5Tokenizer

from editor import emoji
from editor.emoji.profile import DIT_PROFILE
from editor.prompts.profile import PROFILE_FILE
from research.emoji.assemble import declare_float32, store_as_float16

CARD = Path(__file__).parent / "card.md"
SHARED = ("text_encoder", "tokenizer", "vae")
SCHEDULE = {
    "num_train_timesteps": 1000,
    "prediction_type": "sample",
    "use_flow_sigmas": True,
    "use_dynamic_shifting": True,
    "time_shift_type": "exponential",
}
"""The solver for a denoiser that predicts the clean latents, with the timesteps of FLUX.1 dev."""


def save_pipeline(
    folder: Path, tokenizer: T5Tokenizer, encoder: T5EncoderModel, transformer: FluxTransformer2DModel
) -> None:
    """Write the folder that ``FluxPipeline.from_pretrained`` loads."""
    scheduler = DPMSolverMultistepScheduler(**SCHEDULE)
    parts = {"tokenizer_2": tokenizer, "text_encoder_2": encoder, "transformer": transformer, "scheduler": scheduler}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
        for file in (folder / name).glob("*.safetensors"):
            store_as_float16(file)
    declare_float32(folder / "text_encoder_2" / "config.json")
    for name in SHARED:
        shutil.copytree(emoji.WEIGHTS / name, folder / name, dirs_exist_ok=True)
    (folder / "model_index.json").write_text(json.dumps(make_model_index(), indent=2) + "\n")
    (folder / PROFILE_FILE).write_text(DIT_PROFILE.model_dump_json(indent=2) + "\n")
    shutil.copyfile(CARD, folder / "README.md")


def make_model_index() -> dict[str, object]:
    """Return the content of ``model_index.json``."""
    return {
        "_class_name": "FluxPipeline",
        "_diffusers_version": "0.36.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "T5Tokenizer"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }
