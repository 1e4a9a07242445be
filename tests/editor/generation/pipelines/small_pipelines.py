"""Small text-to-image pipelines of the true classes, with random weights, and their single files."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders import single_file_utils
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from editor.checkpoints.tokenizers import clip_tokenizer
from tests.editor.checkpoints.layouts import VOCABULARY, add_prefix, to_openclip, write_safetensors
from tests.editor.generation.pipelines.original_names import Tensors, flux_names, sd3_names, unet_names, vae_names

WIDTH = 128
"""Width of every text encoder, with attention heads of 64 as the reader of single files expects; an edit needs the room."""
FLUX_WIDTH = 32
LAYERS = 2


def clip(projected: bool = False, act: str = "quick_gelu", layers: int = LAYERS) -> Any:
    config = CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=WIDTH // 64,
        projection_dim=WIDTH,
        hidden_act=act,
        vocab_size=VOCABULARY,
        bos_token_id=VOCABULARY - 2,
        eos_token_id=VOCABULARY - 1,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def clip_l() -> Any:
    return clip_tokenizer("<|endoftext|>", 77)


def clip_g() -> Any:
    return clip_tokenizer("!", 77)


def t5() -> Any:
    config = T5Config(
        vocab_size=64, d_model=WIDTH, d_kv=16, d_ff=64, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    return T5EncoderModel(config).eval()


def t5_tokenizer() -> Any:
    letters = [(letter, -2.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -1.0), *letters]
    return T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=32)


def autoencoder(latents: int = 4, **more: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latents,
        norm_num_groups=4,
        **more,
    ).eval()


def unet(context: int, **more: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=context,
        attention_head_dim=2,
        norm_num_groups=8,
        sample_size=8,
        **more,
    ).eval()


def stable_diffusion_1() -> Any:
    return diffusers.StableDiffusionPipeline(
        autoencoder(),
        clip(),
        clip_l(),
        unet(WIDTH),
        diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        None,
        None,
        requires_safety_checker=False,
    )


def stable_diffusion_2() -> Any:
    return diffusers.StableDiffusionPipeline(
        autoencoder(),
        clip(act="gelu"),
        clip_g(),
        unet(WIDTH, use_linear_projection=True),
        diffusers.DDIMScheduler(prediction_type="v_prediction"),
        None,
        None,
        requires_safety_checker=False,
    )


def sdxl() -> Any:
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    return diffusers.StableDiffusionXLPipeline(
        autoencoder(scaling_factor=0.13025),
        clip(),
        clip(projected=True, act="gelu"),
        clip_l(),
        clip_g(),
        unet(2 * WIDTH, use_linear_projection=True, projection_class_embeddings_input_dim=WIDTH + 48, **added),
        diffusers.EulerDiscreteScheduler(),
    )


def sd3(dual: tuple[int, ...] = (0,)) -> Any:
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        num_layers=LAYERS,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=2 * WIDTH,
        out_channels=4,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
        dual_attention_layers=dual,
    ).eval()
    text = T5EncoderModel(T5Config(**t5().config.to_dict() | {"d_model": 2 * WIDTH})).eval()
    return diffusers.StableDiffusion3Pipeline(
        transformer,
        diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        autoencoder(shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        clip(projected=True),
        clip_l(),
        clip(projected=True, act="gelu"),
        clip_g(),
        text,
        t5_tokenizer(),
    )


def flux(guided: bool = True) -> Any:
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=LAYERS,
        attention_head_dim=16,
        num_attention_heads=FLUX_WIDTH // 16,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=guided,
        axes_dims_rope=(4, 4, 8),
    ).eval()
    return diffusers.FluxPipeline(
        diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=guided),
        autoencoder(shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        clip(),
        clip_l(),
        t5(),
        t5_tokenizer(),
        transformer,
    )


def clip_tensors(model: Any) -> Tensors:
    """Return the tensors of a CLIP text encoder with the names of transformers 4, as in single files."""
    tensors = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("position_ids")}
    return {name if name.startswith("text_") else f"text_model.{name}": tensor for name, tensor in tensors.items()}


def openclip_tensors(model: Any, unused_layer: bool = False) -> Tensors:
    """Return the tensors as OpenCLIP stores them; with a last layer that the pipeline omits, as in Stable Diffusion 2."""
    tensors = {"text_projection.weight": torch.eye(WIDTH)} | clip_tensors(model)
    if unused_layer:
        start, last = "text_model.encoder.layers.", f"text_model.encoder.layers.{LAYERS - 1}."
        tensors |= {
            name.replace(last, f"{start}{LAYERS}."): tensor + 1
            for name, tensor in tensors.items()
            if name.startswith(last)
        }
    return to_openclip(tensors)


def single_file(pipeline: Any) -> Tensors:
    """Return the tensors of a pipeline with their original names."""
    return SINGLE_FILES[type(pipeline).__name__](pipeline)


def sd_tensors(pipeline: Any) -> Tensors:
    is_second = pipeline.text_encoder.config.hidden_act == "gelu"
    text = (
        add_prefix("cond_stage_model.model.", openclip_tensors(pipeline.text_encoder, unused_layer=True))
        if is_second
        else add_prefix("cond_stage_model.transformer.", clip_tensors(pipeline.text_encoder))
    )
    return unet_names(pipeline.unet.state_dict(), 1) | vae_names(pipeline.vae.state_dict(), 2) | text


def sdxl_tensors(pipeline: Any) -> Tensors:
    first = add_prefix("conditioner.embedders.0.transformer.", clip_tensors(pipeline.text_encoder))
    second = add_prefix("conditioner.embedders.1.model.", openclip_tensors(pipeline.text_encoder_2))
    return unet_names(pipeline.unet.state_dict(), 1) | vae_names(pipeline.vae.state_dict(), 2) | first | second


def sd3_tensors(pipeline: Any) -> Tensors:
    names = {"clip_l": pipeline.text_encoder, "clip_g": pipeline.text_encoder_2}
    text = [add_prefix(f"text_encoders.{name}.transformer.", clip_tensors(model)) for name, model in names.items()]
    large = add_prefix("text_encoders.t5xxl.transformer.", t5_tensors(pipeline.text_encoder_3))
    return (
        sd3_names(pipeline.transformer.state_dict(), LAYERS)
        | vae_names(pipeline.vae.state_dict(), 2)
        | text[0]
        | text[1]
        | large
    )


def flux_tensors(pipeline: Any) -> Tensors:
    first = add_prefix("text_encoders.clip_l.transformer.", clip_tensors(pipeline.text_encoder))
    second = add_prefix("text_encoders.t5xxl.transformer.", t5_tensors(pipeline.text_encoder_2))
    denoiser = flux_names(pipeline.transformer.state_dict(), 1, LAYERS, "model.diffusion_model.")
    return denoiser | vae_names(pipeline.vae.state_dict(), 2, "vae.") | first | second


def t5_tensors(model: Any) -> Tensors:
    return {name: tensor for name, tensor in model.state_dict().items() if name != "encoder.embed_tokens.weight"}


SINGLE_FILES: dict[str, Callable[[Any], Tensors]] = {
    "StableDiffusionPipeline": sd_tensors,
    "StableDiffusionXLPipeline": sdxl_tensors,
    "StableDiffusion3Pipeline": sd3_tensors,
    "FluxPipeline": flux_tensors,
}


def write_single_file(path: Path, pipeline: Any, **markers: Tensor) -> Path:
    """Write a pipeline to one file."""
    return write_safetensors(
        path, {name: value.contiguous() for name, value in (single_file(pipeline) | markers).items()}
    )


def write_configs(folder: Path, pipeline: Any) -> Path:
    """Write a diffusers folder without weights: the configuration of a geometry that is not that of a released model."""
    pipeline.save_pretrained(folder)
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    return folder


def flux_converter(width: int) -> Any:
    """Return diffusers' converter of FLUX for another width than the released models'."""
    source = inspect.getsource(single_file_utils.convert_flux_transformer_checkpoint_to_diffusers)
    assert source.count("inner_dim = 3072") == 1
    scope: dict[str, Any] = {"torch": torch}
    exec(source.replace("inner_dim = 3072", f"inner_dim = {width}"), scope)
    return scope["convert_flux_transformer_checkpoint_to_diffusers"]


def models(pipeline: Any) -> dict[str, nn.Module]:
    return {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}


def assert_same_pipeline(loaded: Any, saved: Any) -> None:
    assert type(loaded) is type(saved)
    assert models(loaded).keys() == models(saved).keys()
    for name, model in models(loaded).items():
        expected, found = models(saved)[name].state_dict(), model.state_dict()
        assert found.keys() == expected.keys(), name
        assert all(torch.equal(found[key], expected[key]) for key in found), name
        assert not model.training
    assert settings(loaded.scheduler) == settings(saved.scheduler)
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        if tokenizer := saved.components.get(name):
            ids = [each("a fox", padding="max_length")["input_ids"] for each in (loaded.components[name], tokenizer)]
            assert ids[0] == ids[1]


def settings(scheduler: Any) -> dict[str, Any]:
    return {name: value for name, value in scheduler.config.items() if not name.startswith("_")}
