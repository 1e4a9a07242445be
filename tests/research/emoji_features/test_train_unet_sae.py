"""The shipped autoencoders: they do what their card says, on composites that nothing was trained on."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from editor import emoji
from editor.emoji.labelled_composites import LabelledComposites
from editor.emoji.vocabulary import STYLES
from editor.features.activations.noised_source import NoisedImages, encode_pixels
from editor.features.activations.store import pool_maps
from editor.features.sae import embedded
from editor.features.sae.metrics import reconstruction_metrics
from editor.features.sae.model import read_card
from editor.generation.pipelines import load_pipeline
from research.emoji_features import __main__ as steps
from research.emoji_features import train_unet_sae as shipped
from research.emoji_features.__main__ import STEPS, load_step

MAX_PACKAGE_BYTES = 10_000_000
"""Bytes of everything that was learned from features and ships."""


@pytest.fixture(scope="module")
def maps() -> dict[str, torch.Tensor]:
    """Maps of one new composite of each held-out picture, by block."""
    composites = LabelledComposites(1, seed=7)
    out = shipped.held_out_mask(composites.labels)
    pipeline = load_pipeline(emoji.WEIGHTS)
    latents = encode_pixels(pipeline, composites.images()[out])
    modules, timesteps = zip(*embedded.BLOCK_TIMESTEPS, strict=True)
    source = NoisedImages(pipeline, latents, modules, sorted(set(timesteps)))
    with torch.no_grad():
        found = source.maps(range(len(latents)))
    return {module: found[module, timestep] for module, timestep in embedded.BLOCK_TIMESTEPS}


@pytest.mark.parametrize("module", [module for module, _ in embedded.BLOCK_TIMESTEPS])
def test_card_has_the_error_on_held_out_pictures(maps: dict[str, torch.Tensor], module: str):
    card = read_card(embedded.UNET_SAE_FOLDER / module)["held_out"]
    sae = embedded.unet_sae(module)
    found = reconstruction_metrics(sae, pool_maps(maps[module], "patch"))
    assert found.fvu == pytest.approx(card["fvu"], abs=0.03)
    assert found.cosine == pytest.approx(card["cosine"], abs=0.02)
    assert found.l0 == card["l0"]


@pytest.mark.parametrize("module", [module for module, _ in embedded.BLOCK_TIMESTEPS])
def test_latent_of_the_card_predicts_its_background(maps: dict[str, torch.Tensor], module: str):
    """Counted pair by pair, for the background that the card is surest of."""
    best = read_card(embedded.UNET_SAE_FOLDER / module)["concepts"]["background"]["best"]
    name = max(best, key=lambda colour: best[colour]["auc"])
    composites = LabelledComposites(1, seed=7)
    out = shipped.held_out_mask(composites.labels).tolist()
    has = torch.tensor([b == name for b, held in zip(composites.labels["background"], out, strict=True) if held])
    with torch.no_grad():
        scores = embedded.unet_sae(module).pre_activations(pool_maps(maps[module], "mean"))[:, best[name]["latent"]]
    pairs = scores[has][:, None] > scores[~has][None]
    assert pairs.double().mean() > best[name]["auc"] - 0.12


def test_one_picture_of_every_object_is_held_out_evenly_over_styles():
    composites = LabelledComposites(2)
    pairs = list(zip(composites.labels["object"], composites.labels["style"], strict=True))
    kept = [pairs[item] for item in shipped.held_out_mask(composites.labels).nonzero().flatten().tolist()]
    assert set(Counter(thing for thing, _ in kept).values()) == {2}
    counts = Counter(style for _, style in kept)
    assert set(counts) == set(STYLES)
    assert max(counts.values()) - min(counts.values()) <= 2


def test_packaged_files_are_small():
    folder = Path(embedded.UNET_SAE_FOLDER).parent
    assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) <= MAX_PACKAGE_BYTES


def test_every_step_is_importable():
    for name in STEPS:
        assert callable(load_step(name))


def test_all_runs_every_step_in_one_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    taken: list[tuple[str, Path]] = []
    monkeypatch.setattr(steps, "load_step", lambda name: lambda folder: taken.append((name, folder)))
    monkeypatch.setattr("sys.argv", ["features", "all", "--folder", str(tmp_path)])
    steps.main()
    assert taken == [(name, tmp_path) for name in STEPS]


def test_readme_has_the_figures_of_the_cards():
    text = (embedded.UNET_SAE_FOLDER / "README.md").read_text()
    for module, _ in embedded.BLOCK_TIMESTEPS:
        card = json.loads((embedded.UNET_SAE_FOLDER / module / "sae.json").read_text())["card"]
        assert shipped.render_site(module, card) in text
