"""Edited tensors in a pipeline: applied to the component they name, and taken off again exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from editor.checkpoints.tensor_update import TensorUpdate
from editor.generation.edited_weights import apply_updates, copy_with_updates, edited_weights, find_tensor
from editor.generation.module_device import modules_of
from tests.fakes.pipelines import make_pipeline, shared_pipeline

OUT_PROJ = "text_model.encoder.layers.0.self_attn.out_proj.weight"


def update_of(pipeline: Any, component: str, name: str) -> TensorUpdate:
    """Return an update in float32, as it is computed from a checkpoint, whatever the pipeline's precision."""
    module = getattr(pipeline, component)
    known = dict(module.named_parameters())
    base = known[name if name in known else name.removeprefix("text_model.")].detach().float().clone()
    generator = torch.Generator().manual_seed(1)
    up, down = (torch.randn(shape, generator=generator).double() for shape in ((len(base), 2), (2, base.shape[1])))
    return TensorUpdate(component, name, name, Path("file"), base, up, down)


def tensors_of(pipeline: Any) -> dict[tuple[int, str], Tensor]:
    parts = enumerate(modules_of(pipeline))
    return {(i, name): tensor for i, part in parts for name, tensor in part.state_dict().items()}


EDITS = {
    "stable-diffusion-1": [("text_encoder", OUT_PROJ)],
    "sdxl": [("text_encoder", OUT_PROJ), ("text_encoder_2", OUT_PROJ)],
    "flux": [("text_encoder", OUT_PROJ), ("transformer", "context_embedder.weight")],
    "pixart": [("text_encoder", "encoder.block.0.layer.0.SelfAttention.o.weight")],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("family", EDITS)
def test_edited_tensors_are_applied_and_taken_off_exactly(family: str, dtype: torch.dtype) -> None:
    pipeline = make_pipeline(family).to(dtype=dtype)
    updates = [update_of(pipeline, *edit) for edit in EDITS[family]]
    before = {key: tensor.clone() for key, tensor in tensors_of(pipeline).items()}
    with edited_weights(pipeline, updates):
        changed = [key for key, tensor in tensors_of(pipeline).items() if not torch.equal(tensor, before[key])]
        assert len(changed) == len(updates)
        for update in updates:
            assert torch.equal(find_tensor(pipeline, update), update.edited.to(dtype))
    assert all(torch.equal(tensor, before[key]) for key, tensor in tensors_of(pipeline).items())


@pytest.mark.parametrize("family", EDITS)
def test_copy_with_updates_shares_all_other_tensors(family: str) -> None:
    pipeline = shared_pipeline(family)
    updates = [update_of(pipeline, *edit) for edit in EDITS[family]]
    edited = copy_with_updates(pipeline, updates)
    ours, theirs = tensors_of(edited), tensors_of(pipeline)
    own = [key for key, tensor in ours.items() if tensor.data_ptr() != theirs[key].data_ptr()]
    assert len(own) == len(updates)
    for update in updates:
        assert torch.equal(find_tensor(edited, update), update.edited)
        assert torch.equal(find_tensor(pipeline, update), update.base)


@torch.no_grad()
def test_copied_encoder_runs_apart_from_the_original() -> None:
    """Neither the edited tensor nor a hook of one model reaches the other."""
    pipeline = shared_pipeline("stable-diffusion-1")
    edited = copy_with_updates(pipeline, [update_of(pipeline, "text_encoder", OUT_PROJ)])
    ids = torch.arange(6)[None]
    before, after = (one.text_encoder(ids, output_hidden_states=True) for one in (pipeline, edited))
    assert len(after.hidden_states) == len(before.hidden_states)
    assert (after.last_hidden_state - before.last_hidden_state).abs().max() > 1e-2
    handle = edited.text_encoder.get_submodule("embeddings.token_embedding").register_forward_hook(
        lambda *_: torch.zeros(1, 6, 32)
    )
    assert torch.equal(pipeline.text_encoder(ids).last_hidden_state, before.last_hidden_state)
    handle.remove()


def test_updates_without_a_context_stay() -> None:
    pipeline = make_pipeline("stable-diffusion-1")
    update = update_of(pipeline, "text_encoder", OUT_PROJ)
    apply_updates(pipeline, [update])
    assert torch.equal(find_tensor(pipeline, update), update.edited)
    assert isinstance(pipeline.text_encoder, nn.Module)
