"""The packed features: images, labels and heat maps are those of the activations, in bounded memory."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from api_schemas.features import FeatureIndex
from editor.features.browser import feature_pack, latent_cards
from editor.features.browser.feature_pack import FeaturePack, FeaturePlace, pack_features
from tests.editor.features.browser.test_browser import ITEMS, WIDTH, browser_input

PLACE = FeaturePlace("object", "mid_block", 25)


@pytest.fixture(scope="module")
def packed() -> FeaturePack:
    return pack_features(browser_input(), PLACE, {"fox": [0], "owl": [3]})


def read_image(packed: FeaturePack, name: str) -> np.ndarray:
    place = next(file for file in packed.index.files if file.name == name)
    content = packed.images[place.offset : place.offset + place.size]
    assert content == zipfile.ZipFile(io.BytesIO(packed.images)).read(name)
    return np.asarray(Image.open(io.BytesIO(content)))


def test_planted_feature_has_its_images_labels_and_concept(packed: FeaturePack) -> None:
    first = packed.index.features[0]
    assert first.top.names == [f"{item:04d}.webp" for item in range(8)]
    assert first.top.activations == sorted(first.top.activations, reverse=True)
    assert (first.top.captions[0], first.concepts) == ("fox", ["fox"])
    assert [(label.kind, label.name, label.share) for label in first.labels] == [("object", "fox", 1.0)]
    assert len(first.quantiles.names) == len(first.random.names) == 8
    assert (read_image(packed, first.top.names[3]) == 8 * 3).all()


def test_dead_latents_are_counted_and_not_listed(packed: FeaturePack) -> None:
    assert (packed.index.latents, packed.index.image_count) == (WIDTH + 1, ITEMS)
    assert WIDTH not in [feature.latent for feature in packed.index.features]


def test_heatmaps_are_opaque_where_the_feature_is_active(packed: FeaturePack) -> None:
    first = packed.index.features[0]
    assert first.heatmap
    alpha = read_image(packed, first.heatmap)[..., 3]
    assert alpha.shape == (3 * 2, 8 * 2)
    maps = alpha.reshape(3, 2, 8, 2).transpose(0, 2, 1, 3)
    assert (maps[0, :, 0, 0] > 100).all(), "the planted position of the strongest images"
    assert maps[0, :, 1, 1].max() < maps[0, :, 0, 0].min() / 2
    assert maps[0, 0, 0, 0] > maps[0, 7, 0, 0]


def test_batches_do_not_change_the_pack(packed: FeaturePack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_cards, "BATCH_ACTIVATIONS", 3 * 4 * (WIDTH + 1))
    assert pack_features(browser_input(), PLACE, {"fox": [0], "owl": [3]}) == packed


def test_large_maps_are_pooled_and_the_pack_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_pack, "MAX_MAP_SIDE", 1)
    pooled = pack_features(browser_input(), PLACE, {})
    name = pooled.index.features[0].heatmap
    assert name
    assert read_image(pooled, name).shape == (3, 8, 4)
    monkeypatch.setattr(feature_pack, "MAX_PACK_BYTES", 0)
    assert {feature.heatmap for feature in pack_features(browser_input(), PLACE, {}).index.features} == {None}


def test_feature_of_few_images_has_no_label() -> None:
    shown, maps = browser_input(), browser_input().maps(range(ITEMS)).clone()
    maps[..., 5] = 0
    maps[20, 0, 0, 5] = 2
    index = pack_features(replace(shown, maps=lambda items: maps[items.start : items.stop]), PLACE, {}).index
    feature = next(one for one in index.features if one.latent == 5)
    assert (feature.top.names, feature.quantiles.names, feature.labels) == (["0020.webp"], [], [])
    assert feature.image_share == pytest.approx(1 / ITEMS, abs=1e-4)
    assert feature.density == pytest.approx(1 / (4 * ITEMS), abs=1e-6)


def test_pack_is_written_as_it_is_read(packed: FeaturePack, tmp_path: Path) -> None:
    packed.write(tmp_path)
    assert FeatureIndex.model_validate_json((tmp_path / "features.json").read_bytes()) == packed.index
    assert torch.tensor(packed.index.scale) > 2
