"""The LoRA files, loaded by diffusers and PEFT, compared with the edited weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from editor.checkpoints.denoiser import text_tensors
from editor.checkpoints.tensor_update import TensorUpdate
from editor.publishing.lora import LORA, LORA_PEFT, write_loras
from tests.editor.publishing.conftest import tiny_tokenizer
from tests.editor.publishing.pipelines import FAMILIES, encoder, make_pipeline

PREFIX = "text_model."
PROMPTS = ["a fox in the snow", "an owl"]
TOLERANCE = 1e-5
EDITED = {"stable-diffusion-1": 1, "stable-diffusion-2": 1, "sdxl": 2, "sd3": 2, "flux": 1}
"""Number of CLIP encoders of a family."""


def random_updates(component: str, module: Any) -> list[TensorUpdate]:
    """Return a random update of every layer's output projections, each with a different rank and a large norm."""
    found = []
    edited = ((n, p) for n, p in module.named_parameters() if n.endswith(("out_proj.weight", "mlp.fc2.weight")))
    for index, (name, base) in enumerate(edited):
        canonical = PREFIX + name.removeprefix(PREFIX)
        generator = torch.Generator().manual_seed(index)
        up, down = (torch.randn(size, 2 + 3 * index, generator=generator, dtype=torch.float64) for size in base.shape)
        found.append(TensorUpdate(component, canonical, name, Path("x"), base.detach(), 0.05 * up, 0.05 * down.T))
    return found


def outputs(module: Any) -> list[Tensor]:
    """Return every output of a text encoder that a pipeline may use: all hidden states and the pooled output."""
    ids = tiny_tokenizer()(PROMPTS, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        given = module(ids, output_hidden_states=True)
    return [*given.hidden_states[1:], given[0]]


def edited_outputs(module: Any, updates: list[TensorUpdate]) -> list[Tensor]:
    """Return the outputs of the edited encoder, and restore the encoder afterwards."""
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for update in updates:
            parameters[update.stored_name].copy_(update.edited)
        given = outputs(module)
        for update, original in zip(updates, originals(updates), strict=True):
            parameters[update.stored_name].copy_(original)
    return given


def originals(updates: list[TensorUpdate]) -> list[Tensor]:
    return [update.base for update in updates]


def components(pipeline: Any, family: str) -> dict[str, Any]:
    return {name: getattr(pipeline, name) for name in ("text_encoder", "text_encoder_2")[: EDITED[family]]}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pipeline_loads_both_lora_files_as_the_edit(family: str, tmp_path: Path) -> None:
    pipeline = make_pipeline(family)
    encoders = components(pipeline, family)
    updates = {name: [with_cloned_base(u) for u in random_updates(name, module)] for name, module in encoders.items()}
    expected = {name: edited_outputs(module, updates[name]) for name, module in encoders.items()}
    before = {name: outputs(module) for name, module in encoders.items()}
    write_loras([update for part in updates.values() for update in part], family, tmp_path)
    for file in (LORA, LORA_PEFT):
        pipeline.load_lora_weights(tmp_path, weight_name=file)
        for name, module in encoders.items():
            for found, wanted, was in zip(outputs(module), expected[name], before[name], strict=True):
                torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=0)
                assert (was - wanted).abs().max() > 100 * TOLERANCE
        pipeline.unload_lora_weights()


def denoiser_updates(family: str, pipeline: Any) -> list[TensorUpdate]:
    """Return random updates of the maps that read text, which share the second factor of those with equal inputs."""
    component = "unet" if hasattr(pipeline, "unet") else "transformer"
    module, found = getattr(pipeline, component), []
    generator = torch.Generator().manual_seed(7)
    for name in text_tensors(dict(module.named_parameters())):
        base = module.get_parameter(name)
        up, down = (0.2 * torch.randn(size, 3, generator=generator, dtype=torch.float64) for size in base.shape)
        found.append(TensorUpdate(component, name, name, Path("x"), base.detach().clone(), up, down.T))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pipeline_loads_the_denoiser_from_both_lora_files(family: str, tmp_path: Path) -> None:
    pipeline = make_pipeline(family)
    updates = denoiser_updates(family, pipeline)
    write_loras(updates, family, tmp_path)
    for file in (LORA, LORA_PEFT):
        pipeline.load_lora_weights(tmp_path, weight_name=file)
        for update in updates:
            layer = getattr(pipeline, update.component).get_submodule(update.name.removesuffix(".weight"))
            (adapter,) = layer.active_adapters
            found = layer.get_base_layer().weight + layer.get_delta_weight(adapter)
            torch.testing.assert_close(found, update.edited, atol=TOLERANCE, rtol=0)
        pipeline.unload_lora_weights()


def with_cloned_base(update: TensorUpdate, base: Tensor | None = None) -> TensorUpdate:
    """Clone the base, so that editing the module does not change it."""
    return replace(update, base=(update.base if base is None else base).clone())


def test_peft_loads_its_lora_file(tmp_path: Path) -> None:
    module = encoder("l", 2)
    updates = [with_cloned_base(update) for update in random_updates("text_encoder", module)]
    expected = edited_outputs(module, updates)
    write_loras(updates, "stable-diffusion-1", tmp_path)
    names = {name.removeprefix(f"text_encoder.{PREFIX}"): t for name, t in load_file(tmp_path / LORA_PEFT).items()}
    rank = max(len(update.down) for update in updates)
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=["out_proj", "fc2"])
    adapted = peft.inject_adapter_in_model(config, module)
    loaded = peft.set_peft_model_state_dict(adapted, names)
    assert not loaded.unexpected_keys
    for found, wanted in zip(outputs(adapted), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=TOLERANCE, rtol=0)


def test_lora_has_the_rank_of_the_edit(tmp_path: Path) -> None:
    update, _ = random_updates("text_encoder", encoder("l"))
    write_loras([update], "stable-diffusion-1", tmp_path)
    module = "lora_te_text_model_encoder_layers_0_self_attn_out_proj"
    tensors = load_file(tmp_path / LORA)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        f"{module}.lora_up.weight": (768, 2),
        f"{module}.lora_down.weight": (2, 768),
        f"{module}.alpha": (),
    }
    product = tensors[f"{module}.lora_up.weight"].double() @ tensors[f"{module}.lora_down.weight"].double()
    torch.testing.assert_close(product, update.up @ update.down, atol=1e-7, rtol=1e-6)
