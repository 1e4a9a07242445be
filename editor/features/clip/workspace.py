"""A steering session: a CLIP model, an autoencoder of its image embeddings, and a pipeline that generates from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from api_schemas.errors import UsageError
from editor.errors import FeatureError
from editor.features.clip.decomposition import base_embedding
from editor.features.clip.image_conditioned_pipelines import image_conditioned_pipeline
from editor.features.clip.image_encoder import ImageEncoder, open_image_encoder
from editor.features.clip.steering import EmbeddingRenderer, GroupedEmbedding, group_embedding
from editor.features.image_folder import read_image
from editor.features.sae import SparseAutoencoder, load_sae
from editor.generation.config import Sampler, make_sampler
from editor.generation.device import ComputeDevice, DeviceSettings
from editor.generation.placement import place_pipeline


@dataclass(frozen=True)
class SteeringSession:
    """Image encoder, autoencoder and renderer of one embedding space."""

    encoder: ImageEncoder
    sae: SparseAutoencoder
    renderer: EmbeddingRenderer
    texts: Mapping[str, Tensor]
    """Candidate names for groups, with their ``(d,)`` embeddings."""

    @property
    def base_embedding(self) -> Tensor:
        """``(d,)``: the embedding that icons are rendered on."""
        return base_embedding(self.sae, self.sae.latents)

    def group_image(self, path: Path, threshold: float, seed: int) -> GroupedEmbedding:
        """Group the features of an image file."""
        return group_embedding(self.sae, self.encoder.embed_images([read_image(path)])[0], threshold, seed=seed)


@dataclass(frozen=True)
class SessionPaths:
    """Paths of the parts of a session; without any, the embedded model's parts are used."""

    clip: Path | None = None
    sae: Path | None = None
    model: Path | None = None
    adapter: Path | None = None
    words: Path | None = None

    def open(self, steps: int, guidance: float, seed: int, settings: DeviceSettings | None = None) -> SteeringSession:
        """Load the parts, and put the pipeline on a device.

        Raises:
            FeatureError: a part is missing or unsuitable.
            UsageError: only some of the parts are given.
        """
        device = (settings or DeviceSettings()).resolve()
        sampler = make_sampler(device, steps, guidance)
        if self.clip and self.sae and self.model:
            encoder = open_image_encoder(self.clip)
            pipeline = place_pipeline(open_pipeline(self.model, self.adapter, device.dtype), device)
            model = image_conditioned_pipeline(pipeline, encoder.zero_embedding())
            words = self.words.read_text().split("\n") if self.words else []
            texts = embed_texts(encoder, self.clip, {word.strip(): [word] for word in words if word.strip()})
            return SteeringSession(encoder, load_sae(self.sae), EmbeddingRenderer(model, sampler, seed), texts)
        if self.clip or self.sae or self.model or self.adapter:
            raise UsageError(
                "The CLIP model, its autoencoder and the pipeline must be given together.",
                field="clip",
                remedy="Pass all of --clip, --sae and --model-dir, or none.",
            )
        return embedded_session(sampler, seed, device)


def embedded_session(sampler: Sampler, seed: int, device: ComputeDevice) -> SteeringSession:
    """Open a session with the embedded judge, its autoencoder, and the embedded model with its IP-Adapter on a device."""
    from editor import emoji
    from editor.emoji.profile import PROFILE
    from editor.features.clip.embedded import clip_sae
    from editor.features.clip.ip_adapter import load_adapted_pipeline
    from editor.prompts.templates import class_prompts

    pipeline = place_pipeline(load_adapted_pipeline(dtype=device.dtype), device)
    encoder, model = open_image_encoder(emoji.JUDGE), image_conditioned_pipeline(pipeline)
    names = {name: class_prompts(PROFILE, "object", name) for name in PROFILE.object_names}
    names |= {name: class_prompts(PROFILE, "style", name) for name in PROFILE.styles}
    return SteeringSession(
        encoder, clip_sae(), EmbeddingRenderer(model, sampler, seed), embed_texts(encoder, emoji.JUDGE, names)
    )


@torch.no_grad()
def embed_texts(encoder: ImageEncoder, folder: Path, texts: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
    """Embed each name as the mean of its texts' unit embeddings, ``(d,)``, by the CLIP model's text encoder."""
    from transformers import CLIPTokenizer

    if not texts:
        return {}
    tokenizer, clip = CLIPTokenizer.from_pretrained(folder), encoder.clip

    def mean_embedding(lines: Sequence[str]) -> Tensor:
        ids = tokenizer(list(lines), padding=True, truncation=True, return_tensors="pt")["input_ids"]
        return F.normalize(clip.text_projection(clip.text_model(input_ids=ids).pooler_output)).mean(0)

    return {name: mean_embedding(lines) for name, lines in texts.items()}


def open_pipeline(model: Path, adapter: Path | None, dtype: torch.dtype = torch.float32) -> Any:
    """Load a diffusers pipeline from safetensors, optionally with an IP-Adapter file.

    Raises:
        FeatureError: the folder does not contain a pipeline.
    """
    from diffusers import DiffusionPipeline

    if not (model / "model_index.json").is_file():
        raise FeatureError(
            f"{model.name} does not contain a pipeline.",
            field="model_dir",
            remedy="Name a folder in diffusers' layout, with a model_index.json.",
        )
    pipeline = DiffusionPipeline.from_pretrained(model, use_safetensors=True, torch_dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    if adapter is not None:
        pipeline.load_ip_adapter(
            adapter.parent, subfolder="", weight_name=adapter.name, image_encoder_folder=None, local_files_only=True
        )
    return pipeline


def parse_scales(options: Sequence[str], groups: int) -> list[float]:
    """Parse options such as ``2=1.5`` into one factor per group; groups are numbered from 1.

    Raises:
        UsageError: an option is malformed, or names a group that does not exist.
    """
    factors = [1.0] * groups
    for option in options:
        number, _, factor = option.partition("=")
        try:
            index, value = int(number), float(factor)
        except ValueError as error:
            raise UsageError(
                f"--scale {option} is malformed.", field="scale", remedy="Use GROUP=FACTOR, such as 2=1.5."
            ) from error
        if not 1 <= index <= groups:
            raise UsageError(f"There is no group {index}.", field="scale", remedy=f"Choose a group from 1 to {groups}.")
        factors[index - 1] = value
    return factors


def parse_strengths(text: str) -> tuple[float, ...]:
    """Parse a comma-separated list of numbers, such as ``0,1,2``.

    Raises:
        UsageError: the list is malformed.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--strengths {text} is malformed.",
            field="strengths",
            remedy="Use comma-separated numbers, such as 0,0.5,1.",
        ) from error
