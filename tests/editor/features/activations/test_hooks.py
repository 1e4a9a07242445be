"""Captured maps of every backbone family: channels and positions are preserved."""

from typing import Any

import pytest
import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations.backbone_inputs import run_backbone
from editor.features.activations.hooks import backbone_of, capture, infer_grid, tokens_to_map
from tests.editor.features.activations.pipelines import BLOCKS, latents_of, pipeline_of

TRANSFORMERS = ("sd3", "flux", "pixart", "dit")


@pytest.fixture(params=BLOCKS, scope="module")
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pipeline(family: str) -> Any:
    return pipeline_of(family)


def capture_maps(pipeline: Any, latents: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
    with torch.no_grad(), capture(pipeline, names) as maps:
        run_backbone(pipeline, latents, 200, [""] * len(latents))
        return dict(maps)


def test_every_block_gives_a_map_with_the_aspect_of_the_latents(family: str, pipeline: Any) -> None:
    latents = latents_of(family, 2)
    for own in capture_maps(pipeline, latents, BLOCKS[family]).values():
        assert own.shape[0] == 2
        assert own.shape[2] / own.shape[3] == latents.shape[2] / latents.shape[3]


def test_local_change_of_latents_is_local_in_the_map(family: str, pipeline: Any) -> None:
    latents, name = latents_of(family), BLOCKS[family][0]
    for row, column in ((0, 5), (2, 3), (3, 6)):
        moved = latents.clone()
        moved[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 3
        before, after = (capture_maps(pipeline, x, (name,))[name] for x in (latents, moved))
        change = (after - before).norm(dim=1)[0]
        assert divmod(int(change.argmax()), change.shape[1]) == (row, column)


@pytest.mark.parametrize("family", TRANSFORMERS, scope="module")
def test_tokens_are_mapped_to_their_row_column_and_channel(family: str, pipeline: Any) -> None:
    name, latents = BLOCKS[family][-1], latents_of(family)
    rows, columns = (side // 2 for side in latents.shape[2:])

    def plant(_: Any, __: Any, output: Any) -> Any:
        tokens = output[-1] if isinstance(output, tuple) else output
        code = 1000 * torch.arange(tokens.shape[2]) + torch.arange(rows * columns)[:, None]
        planted = code.to(tokens).expand_as(tokens)
        return (*output[:-1], planted) if isinstance(output, tuple) else planted

    handle = backbone_of(pipeline).get_submodule(name).register_forward_hook(plant)
    try:
        found = capture_maps(pipeline, latents, (name,))[name]
    finally:
        handle.remove()
    for channel, row, column in ((0, 0, 0), (1, 0, 0), (0, 0, 1), (0, 1, 0), (5, 3, 7)):
        assert found[0, channel, row, column] == 1000 * channel + columns * row + column


def test_tokens_to_map_is_not_a_plain_view() -> None:
    tokens = torch.arange(2 * 6 * 4).reshape(2, 6, 4)
    maps = tokens_to_map(tokens, (2, 3))
    assert not torch.equal(maps, tokens.view(2, 4, 2, 3))
    assert torch.equal(maps[1, :, 1, 2], tokens[1, 5])


@pytest.mark.parametrize(
    ("tokens", "aspect", "grid"),
    [(64, None, (8, 8)), (32, (8, 16), (4, 8)), (32, (16, 8), (8, 4)), (33, (8, 16), None), (15, None, None)],
)
def test_infer_grid(tokens: int, aspect: tuple[int, int] | None, grid: tuple[int, int] | None) -> None:
    assert infer_grid(tokens, aspect) == grid


def test_inner_modules_of_a_unet_give_maps() -> None:
    pipeline = pipeline_of("stable-diffusion-1")
    inner = "mid_block.attentions.0.transformer_blocks.0"
    for own in capture_maps(
        pipeline, latents_of("stable-diffusion-1"), (f"{inner}.attn2", inner, "mid_block.resnets.0")
    ).values():
        assert own.shape[2:] == (4, 8)


def test_captured_output_is_the_input_of_the_next_module() -> None:
    pipeline = pipeline_of("stable-diffusion-1")
    seen: list[Tensor] = []
    handle = pipeline.unet.conv_norm_out.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = capture_maps(pipeline, latents_of("stable-diffusion-1", 2), ("up_blocks.1",))["up_blocks.1"]
    handle.remove()
    assert torch.equal(found, seen[0])


def test_hooks_are_removed_on_exit() -> None:
    pipeline = pipeline_of("dit")
    capture_maps(pipeline, latents_of("dit"), ("transformer_blocks.0",))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in pipeline.transformer.modules())


def test_unknown_module_is_rejected_with_suggestions() -> None:
    with pytest.raises(FeatureError, match="mid_block"), capture(pipeline_of("stable-diffusion-1"), ["mid_blocks"]):
        pass


def test_output_that_is_not_a_map_is_rejected() -> None:
    pipeline = pipeline_of("stable-diffusion-1")
    with pytest.raises(FeatureError, match="not a map"):
        capture_maps(pipeline, latents_of("stable-diffusion-1"), ("time_embedding",))
