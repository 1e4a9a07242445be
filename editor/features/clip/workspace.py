"""What the commands open: a CLIP, an autoencoder of its embeddings, and a pipeline that draws from them."""

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
from editor.generation.config import Sampler, native_precision


@dataclass(frozen=True)
class SteeringSession:
    """Embeddings, features and pictures of one embedding space."""

    encoder: ImageEncoder
    sae: SparseAutoencoder
    renderer: EmbeddingRenderer
    texts: Mapping[str, Tensor]
    """Names that a group may be near to, and their embeddings, ``(d,)``."""

    @property
    def base_embedding(self) -> Tensor:
        """``(d,)``: the embedding of nothing in particular."""
        return base_embedding(self.sae, self.sae.latents)

    def group_image(self, picture: Path, threshold: float, seed: int) -> GroupedEmbedding:
        """A picture's features in groups."""
        return group_embedding(self.sae, self.encoder.embed_images([read_image(picture)])[0], threshold, seed=seed)


@dataclass(frozen=True)
class SessionPaths:
    """Where the parts lie; what is not given is the embedded model's."""

    clip: Path | None = None
    sae: Path | None = None
    model: Path | None = None
    adapter: Path | None = None
    words: Path | None = None

    def open(self, steps: int, guidance: float, seed: int) -> SteeringSession:
        """Load them.

        Raises:
            FeatureError: a part is missing or unfit.
            UsageError: some parts are the embedded model's and some are not.
        """
        sampler = Sampler(steps, guidance, native_precision())
        if self.clip and self.sae and self.model:
            encoder = open_image_encoder(self.clip)
            model = image_conditioned_pipeline(open_pipeline(self.model, self.adapter), encoder.zero_embedding())
            words = self.words.read_text().split("\n") if self.words else []
            texts = embed_texts(encoder, self.clip, {word.strip(): [word] for word in words if word.strip()})
            return SteeringSession(encoder, load_sae(self.sae), EmbeddingRenderer(model, sampler, seed), texts)
        if self.clip or self.sae or self.model or self.adapter:
            raise UsageError(
                "A CLIP, an autoencoder of its embeddings and a model that draws from them belong together.",
                field="clip",
                remedy="Name all of --clip, --sae and --model-dir, or none.",
            )
        return embedded_session(sampler, seed)


def embedded_session(sampler: Sampler, seed: int) -> SteeringSession:
    """The judge, and emoji with its adapter."""
    from editor import emoji
    from editor.emoji.profile import PROFILE
    from editor.features.clip.embedded import clip_sae
    from editor.features.clip.ip_adapter import load_adapted_pipeline
    from editor.prompts.templates import class_prompts

    encoder, model = open_image_encoder(emoji.JUDGE), image_conditioned_pipeline(load_adapted_pipeline())
    names = {name: class_prompts(PROFILE, "object", name) for name in PROFILE.object_names}
    names |= {name: class_prompts(PROFILE, "style", name) for name in PROFILE.styles}
    return SteeringSession(
        encoder, clip_sae(), EmbeddingRenderer(model, sampler, seed), embed_texts(encoder, emoji.JUDGE, names)
    )


@torch.no_grad()
def embed_texts(encoder: ImageEncoder, folder: Path, texts: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
    """The mean unit embedding of each name's texts, ``(d,)``, by the CLIP's own text half."""
    from transformers import CLIPTokenizer

    if not texts:
        return {}
    tokenizer, clip = CLIPTokenizer.from_pretrained(folder), encoder.clip

    def embedded(lines: Sequence[str]) -> Tensor:
        ids = tokenizer(list(lines), padding=True, truncation=True, return_tensors="pt")["input_ids"]
        return F.normalize(clip.text_projection(clip.text_model(input_ids=ids).pooler_output)).mean(0)

    return {name: embedded(lines) for name, lines in texts.items()}


def open_pipeline(model: Path, adapter: Path | None) -> Any:
    """A pipeline of safetensors, with an IP-Adapter's file if one is given.

    Raises:
        FeatureError: the folder holds no pipeline.
    """
    from diffusers import DiffusionPipeline

    if not (model / "model_index.json").is_file():
        raise FeatureError(
            f"There is no pipeline in {model.name}.",
            field="model_dir",
            remedy="Give a folder in diffusers' layout, with its model_index.json.",
        )
    pipeline = DiffusionPipeline.from_pretrained(model, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    if adapter is not None:
        pipeline.load_ip_adapter(
            adapter.parent, subfolder="", weight_name=adapter.name, image_encoder_folder=None, local_files_only=True
        )
    return pipeline


def parse_scales(wishes: Sequence[str], groups: int) -> list[float]:
    """``["2=1.5"]`` -> a factor for each group, counted from 1.

    Raises:
        UsageError: a wish that can't be read, or of no such group.
    """
    factors = [1.0] * groups
    for wish in wishes:
        number, _, factor = wish.partition("=")
        try:
            place, value = int(number), float(factor)
        except ValueError as error:
            raise UsageError(f"--scale {wish} can't be read.", field="scale", remedy="Say 2=1.5.") from error
        if not 1 <= place <= groups:
            raise UsageError(f"There is no group {place}.", field="scale", remedy=f"Choose from 1 to {groups}.")
        factors[place - 1] = value
    return factors


def parse_strengths(text: str) -> tuple[float, ...]:
    """``"0,1,2"`` -> numbers.

    Raises:
        UsageError: others.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--strengths {text} can't be read.", field="strengths", remedy="Say 0,0.5,1.") from error
