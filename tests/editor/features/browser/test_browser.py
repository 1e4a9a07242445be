"""The browser page: its contents match the autoencoder, and it makes no network requests."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from editor.errors import FeatureError
from editor.features.activations.store import StoreManifest, write_manifest, write_shard
from editor.features.browser import BrowserInput, write_browser_page
from editor.features.browser.inputs import load_browser_input
from editor.features.browser.latent_cards import TextEmbeddings, build_contents, color_scale_maximum
from editor.features.sae import SparseAutoencoder

ITEMS, SIDE, WIDTH = 30, 2, 6


def activations() -> torch.Tensor:
    """Return ``(items, 2, 2, 6)``; dimension 0 is large in the first ten images, at their first position."""
    generator = torch.Generator().manual_seed(0)
    maps = 0.1 * torch.rand(ITEMS, SIDE, SIDE, WIDTH, generator=generator)
    maps[:10, 0, 0, 0] = torch.linspace(3, 2, 10)
    return maps


def axis_autoencoder() -> SparseAutoencoder:
    """Return an autoencoder with one latent per dimension and one dead latent."""
    sae = SparseAutoencoder(WIDTH, WIDTH + 1, k=2)
    with torch.no_grad():
        eye = torch.cat([torch.eye(WIDTH), torch.zeros(1, WIDTH)])
        sae.encoder.copy_(eye)
        sae.decoder.copy_(eye)
    return sae


def browser_input(title: str = "a block") -> BrowserInput:
    maps = activations()
    images = [np.full((8, 8, 3), 8 * number, dtype=np.uint8) for number in range(ITEMS)]
    direction = torch.eye(2)
    return BrowserInput(
        sae=axis_autoencoder(),
        title=title,
        card={"held_out": {"fvu": 0.25}},
        images=images,
        maps=lambda items: maps[items.start : items.stop],
        grid=(SIDE, SIDE),
        labels={"object": ["fox" if number < 10 else "</script><b>" for number in range(ITEMS)]},
        texts=TextEmbeddings(
            ["a fox", "a stone"], direction, direction[[0 if number < 10 else 1 for number in range(ITEMS)]]
        ),
    )


def test_card_of_planted_latent_has_its_images_labels_and_texts():
    found = build_contents(browser_input())
    first = found.latents[0]
    assert first.top == [0, 1, 2, 3, 4, 5, 6, 7]
    assert first.labels["object"] == ("fox", 1.0)
    assert first.words[0][0] == "a fox"
    assert set(first.random) <= set((found.activations.amax(1)[:, 0] > 0).nonzero().flatten().tolist())
    assert found.latents[WIDTH].top == []


def test_latent_active_in_few_images_has_no_label():
    shown = browser_input()
    maps = activations()
    maps[..., 5] = 0
    maps[20, 0, 0, 5] = 2
    found = build_contents(replace(shown, maps=lambda items: maps[items.start : items.stop])).latents[5]
    assert found.top == [20]
    assert found.labels == {}
    assert found.words[0][0] == "a stone"


def test_color_scale_is_shared_by_all_latents():
    values = torch.cat([torch.full((1, 5, 1), 2.0), torch.full((1, 5, 1), 0.5)], dim=2)
    assert color_scale_maximum(values) == 2.0
    assert color_scale_maximum(torch.zeros(1, 2, 3)) == 1.0


class PageParser(HTMLParser):
    """Collects URLs and the embedded JSON data."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.data, self.inside = "", False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "action"}]
        self.inside = ("id", "data") in attrs

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.data += data


def test_page_is_self_contained_and_escaped(tmp_path: Path):
    write_browser_page(browser_input("<b>mine</b>"), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    reader = PageParser()
    reader.feed(text)
    assert not reader.addresses
    assert not re.findall(r"https?://|@import|fetch\(", text)
    assert "<b>mine</b>" not in text
    data = json.loads(reader.data)
    assert data["dead"] == 1
    first = next(one for one in data["latents"] if one["id"] == 0)
    heat = np.frombuffer(base64.b64decode(first["heat"]), dtype=np.uint8).reshape(-1, SIDE, SIDE)
    assert heat[0, 0, 0] == 255
    assert heat[0, 1].max() < 40
    assert first["strengths"][0] == 3.0
    assert data["captions"][first["groups"][0][0]] == "fox"


def test_page_is_deterministic(tmp_path: Path):
    write_browser_page(browser_input(), tmp_path / "one.html")
    write_browser_page(browser_input(), tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def input_from_folders(tmp_path: Path, count: int) -> BrowserInput:
    (tmp_path / "images").mkdir()
    for number in range(count):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "images" / f"{number:02}.png")
    rows = activations().flatten(0, 2)
    write_shard(tmp_path / "store", 0, rows)
    manifest = StoreManifest(
        module="mid_block", timestep=25, pooling="patch", items=ITEMS, channels=WIDTH, grid=(SIDE, SIDE),
        shards=("rows-00000.safetensors",), about={},
    )  # fmt: skip
    labels = {"object": ["fox"] * 10 + ["other"] * 20, "seed": [str(number) for number in range(ITEMS)]}
    write_manifest(tmp_path / "store", manifest, labels)
    axis_autoencoder().save(tmp_path / "sae", {"held_out": {"fvu": 0.5}})
    return load_browser_input(tmp_path / "sae", tmp_path / "store", tmp_path / "images")


def test_page_from_folders(tmp_path: Path):
    shown = input_from_folders(tmp_path, ITEMS)
    torch.testing.assert_close(shown.maps(range(3, 5)), activations()[3:5])
    assert list(shown.labels) == ["object"]
    assert build_contents(shown).latents[0].top[0] == 0


def test_wrong_number_of_images_is_rejected(tmp_path: Path):
    with pytest.raises(FeatureError, match="30 images were recorded, but images contains 3"):
        input_from_folders(tmp_path, 3)
