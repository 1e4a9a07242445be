"""The Diff-C network: shape and size of the presets, saving and loading."""

from pathlib import Path

import pytest
import torch
from torch import nn

from editor.errors import FeatureError
from editor.features.diffc.model import CONFIG_FILE, WEIGHTS_FILE, DiffcConfig, DiffusionClassifier, Preset, load_diffc


def config(preset: Preset = "light", channels: int = 12, classes: int = 4) -> DiffcConfig:
    names = tuple(f"class {i}" for i in range(classes))
    return DiffcConfig(module="mid_block", timestep=25, channels=channels, classes=names, preset=preset)


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_revelio_preset_has_40_million_parameters_at_1280_channels() -> None:
    with torch.device("meta"):
        model = DiffusionClassifier(config("revelio", 1280, 37))
    convolutions = (1280 + 3 * 1024) * 1024 * 9 + 4 * 1024
    norms, head = 4 * 2 * 1024, 1024 * 37 + 37
    assert count_parameters(model) == convolutions + norms + head == 40_158_245


def test_revelio_preset_has_the_released_layers() -> None:
    with torch.device("meta"):
        model = DiffusionClassifier(config("revelio", 1280, 37))
    block = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Dropout2d]
    assert [type(layer) for layer in model.features] == [nn.BatchNorm2d, *block * 4]
    assert not model.features[0].affine
    strides = [layer.stride for layer in model.features if isinstance(layer, nn.Conv2d)]
    assert strides == [(1, 1), (2, 2), (2, 2), (2, 2)]
    assert model.features(torch.empty(1, 1280, 32, 32, device="meta")).shape == (1, 1024, 4, 4)


def test_light_preset_has_a_hundredth_of_the_parameters() -> None:
    light = count_parameters(DiffusionClassifier(config("light", 256, 96)))
    assert light < 40_158_245 / 100


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (5, 9)])
def test_classifier_accepts_maps_of_any_size(size: tuple[int, int]) -> None:
    assert DiffusionClassifier(config())(torch.randn(2, 12, *size)).shape == (2, 4)


def test_logits_do_not_change_the_classifier() -> None:
    model, maps = DiffusionClassifier(config()).train(), torch.randn(3, 12, 4, 4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = model.logits(maps)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(model.logits(maps[:1]), first[:1])
    assert not first.requires_grad


@pytest.mark.parametrize(("half", "tolerance"), [(False, 0.0), (True, 5e-3)])
def test_saved_classifier_gives_the_same_logits(tmp_path: Path, half: bool, tolerance: float) -> None:
    model, maps = DiffusionClassifier(config()), torch.randn(8, 12, 4, 4)
    model(maps)  # moves the running statistics
    model.save(tmp_path, half)
    read = load_diffc(tmp_path)
    assert read.config == model.config
    assert not read.training
    torch.testing.assert_close(read.logits(maps), model.logits(maps), rtol=0, atol=tolerance)
    assert {path.name for path in tmp_path.iterdir()} == {CONFIG_FILE, WEIGHTS_FILE}


def test_inconsistent_or_missing_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="readable Diff-C"):
        load_diffc(tmp_path)
    DiffusionClassifier(config()).save(tmp_path)
    (tmp_path / CONFIG_FILE).write_text(config(classes=5).model_dump_json())
    with pytest.raises(FeatureError, match="readable Diff-C"):
        load_diffc(tmp_path)
    DiffusionClassifier(config()).save(tmp_path)
    weights = (tmp_path / WEIGHTS_FILE).read_bytes()
    (tmp_path / WEIGHTS_FILE).write_bytes(weights[: len(weights) // 2])
    with pytest.raises(FeatureError, match="readable Diff-C"):
        load_diffc(tmp_path)
