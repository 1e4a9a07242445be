"""Pipelines that generate from image embeddings: three real pipeline classes, tiny, with random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, KandinskyV22Pipeline, UNet2DConditionModel, VQModel
from safetensors.torch import save_file
from torch import Tensor

from editor.errors import FeatureError
from editor.features.clip.image_conditioned_pipelines import (
    ImageConditionedPipeline,
    IPAdapterPipeline,
    KandinskyDecoder,
    generate_from_embeddings,
    image_conditioned_pipeline,
)
from editor.generation.config import Image, Sampler
from tests.editor.publishing.pipelines import make_pipeline

WIDTH = 24
SAMPLER = Sampler(2, 2.0)
ONE_LEVEL = 1
"""Of 255: rounding difference between a batch and a single image."""


def adapter_weights(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Return random adapter weights in the public layout."""
    states = unet.config.cross_attention_dim
    found = {"image_proj.proj.weight": torch.randn(4 * states, WIDTH), "image_proj.proj.bias": torch.zeros(4 * states)}
    found |= {"image_proj.norm.weight": torch.ones(states), "image_proj.norm.bias": torch.zeros(states)}
    names = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, name in enumerate(names):
        for part in ("to_k", "to_v"):
            weight = getattr(unet.get_submodule(name.removesuffix(".processor")), part).weight
            found[f"ip_adapter.{2 * number + 1}.{part}_ip.weight"] = torch.randn(weight.shape)
    return found


def pipeline_with_adapter(family: str, folder: Path) -> Any:
    pipeline = make_pipeline(family)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.register_to_config(sample_size=8)
    pipeline.default_sample_size = 8
    save_file(adapter_weights(pipeline.unet), folder / "adapter.safetensors")
    pipeline.load_ip_adapter(folder, subfolder="", weight_name="adapter.safetensors", image_encoder_folder=None)
    return pipeline


def kandinsky_pipeline() -> Any:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=4,
        in_channels=4,
        out_channels=8,
        addition_embed_type="image",
        down_block_types=("SimpleCrossAttnDownBlock2D",),
        up_block_types=("SimpleCrossAttnUpBlock2D",),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(32,),
        layers_per_block=1,
        encoder_hid_dim=WIDTH,
        encoder_hid_dim_type="image_proj",
        cross_attention_dim=8,
        attention_head_dim=4,
        resnet_time_scale_shift="scale_shift",
    )
    movq = VQModel(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        norm_type="spatial",
        num_vq_embeddings=4,
        vq_embed_dim=4,
    )
    pipeline = KandinskyV22Pipeline(unet, DDIMScheduler(clip_sample=False), movq)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(params=["stable-diffusion-1", "sdxl", "kandinsky"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> ImageConditionedPipeline:
    if request.param == "kandinsky":
        return image_conditioned_pipeline(
            kandinsky_pipeline(), torch.randn(WIDTH, generator=torch.Generator().manual_seed(3))
        )
    return image_conditioned_pipeline(pipeline_with_adapter(request.param, tmp_path))


def embeddings(count: int = 3) -> Tensor:
    return 3 * torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(4))


def max_difference(one: Image, other: Image) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_each_image_of_a_batch_uses_its_own_embedding(model: ImageConditionedPipeline) -> None:
    """Plain diffusers would condition every image on all embeddings of the batch."""
    given = embeddings()
    together = generate_from_embeddings(model, SAMPLER, given, [5, 6, 7])
    alone = [generate_from_embeddings(model, SAMPLER, given[[i]], [5 + i])[0] for i in range(3)]
    assert all(max_difference(one, other) <= ONE_LEVEL for one, other in zip(together, alone, strict=True))
    same_seed = generate_from_embeddings(model, SAMPLER, given, [5, 5, 5])
    assert max_difference(same_seed[0], same_seed[1]) > ONE_LEVEL


def test_wrong_embedding_width_is_rejected(model: ImageConditionedPipeline) -> None:
    with pytest.raises(FeatureError, match=str(WIDTH)):
        generate_from_embeddings(model, SAMPLER, torch.zeros(1, WIDTH + 1), [0])


@pytest.mark.parametrize("prompt", ["", "a fox"])
@pytest.mark.parametrize("family", ["stable-diffusion-1", "sdxl"])
def test_image_matches_diffusers(family: str, prompt: str, tmp_path: Path) -> None:
    pipeline, (given,) = pipeline_with_adapter(family, tmp_path), embeddings(1)
    (ours,) = generate_from_embeddings(IPAdapterPipeline(pipeline, prompt), SAMPLER, given[None], [5])
    theirs = pipeline(
        prompt=prompt,
        ip_adapter_image_embeds=[torch.stack([torch.zeros(1, WIDTH), given[None]])],
        num_inference_steps=SAMPLER.steps,
        guidance_scale=SAMPLER.guidance,
        generator=torch.Generator().manual_seed(5),
        output_type="np",
    ).images[0]
    assert max_difference(ours, (theirs * 255).round()) <= ONE_LEVEL


def test_prompt_and_embedding_both_condition_the_image(tmp_path: Path) -> None:
    pipeline = pipeline_with_adapter("stable-diffusion-1", tmp_path)

    def generate(prompt: str, scale: float, given: Tensor) -> Image:
        pipeline.set_ip_adapter_scale(scale)
        return generate_from_embeddings(IPAdapterPipeline(pipeline, prompt), SAMPLER, given, [5])[0]

    one, other = embeddings(2).split(1)
    both = generate("a fox", 1.0, one)
    assert max_difference(both, generate("a pizza", 1.0, one)) > ONE_LEVEL, "the prompt counts"
    assert max_difference(both, generate("a fox", 1.0, other)) > ONE_LEVEL, "the picture counts"
    assert max_difference(generate("a fox", 0.0, one), generate("a fox", 0.0, other)) == 0, (
        "a picture of no weight does not"
    )


def test_kandinsky_uses_the_negative_embedding() -> None:
    pipeline, given = kandinsky_pipeline(), embeddings(1)
    one, other = (
        generate_from_embeddings(KandinskyDecoder(pipeline, negative), SAMPLER, given, [5])[0]
        for negative in (torch.zeros(WIDTH), 3 * torch.ones(WIDTH))
    )
    assert max_difference(one, other) > ONE_LEVEL
    assert one.shape == (8, 8, 3), "the size that the denoiser was made for"


def test_pipeline_without_image_embeddings_is_rejected() -> None:
    with pytest.raises(FeatureError, match="cannot generate from image embeddings"):
        image_conditioned_pipeline(make_pipeline("stable-diffusion-1"))
    with pytest.raises(FeatureError):
        image_conditioned_pipeline(kandinsky_pipeline())  # without its negative
