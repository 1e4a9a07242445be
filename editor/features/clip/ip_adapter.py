"""Loads the IP-Adapter of the embedded model, which generates images from the judge's image embeddings."""

from pathlib import Path
from typing import Any

import torch

from editor import emoji
from editor.generation.pipelines import load_pipeline

ADAPTER_FOLDER = emoji.FEATURES / "ip_adapter"
ADAPTER_FILE = "ip_adapter.safetensors"


def load_adapted_pipeline(folder: Path = ADAPTER_FOLDER, dtype: torch.dtype = torch.float32) -> Any:
    """Load the embedded model's pipeline with the adapter. Its ``ip_adapter_image_embeds`` are the judge's embeddings."""
    pipeline = load_pipeline(emoji.WEIGHTS, dtype=dtype)
    attach_adapter(pipeline, folder)
    return pipeline


def attach_adapter(pipeline: Any, folder: Path = ADAPTER_FOLDER) -> None:
    """Load the adapter into a pipeline of the embedded model, which may be edited."""
    pipeline.load_ip_adapter(folder, subfolder="", weight_name=ADAPTER_FILE, image_encoder_folder=None)
