"""Other tools' layouts: round trips, and the libraries themselves if an interpreter with them is configured."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from editor.errors import FeatureError
from editor.features.sae import SaeConfig, SparseAutoencoder, train_sae
from editor.features.sae.interop import LAYOUTS, read_any, write_layout
from tests.editor.features.sae.synthetic import sparse_sums

PEERS = os.environ.get("EXPUNGE_PEERS_PYTHON")
READER = Path(__file__).parent / "peer_reader.py"


def trained_sae(activation: str = "topk") -> SparseAutoencoder:
    rows, _ = sparse_sums(400)
    config = SaeConfig(latents=32, k=3, steps=80, batch=64, activation=activation, l1=1.0, precision="float32")
    return train_sae(rows, config, quiet=True).sae


def assert_same(sae: SparseAutoencoder, other: SparseAutoencoder, rows: torch.Tensor) -> None:
    """Assert equal reconstructions, and equal codes up to the scale of the rows."""
    torch.testing.assert_close(other(rows), sae(rows), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.encode(rows) * sae.scale, sae.encode(rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layout", "activation"),
    [("saelens", "topk"), ("saelens", "batchtopk"), ("saelens", "relu"), ("sparsify", "topk"), ("openai", "topk")],
)
def test_layouts_round_trip(tmp_path: Path, layout, activation):
    sae, (rows, _) = trained_sae(activation), sparse_sums(100, seed=5)
    write_layout(sae, tmp_path, layout)
    assert_same(sae, read_any(tmp_path), rows)


@pytest.mark.skipif(PEERS is None, reason="EXPUNGE_PEERS_PYTHON names no interpreter with the libraries (make peers)")
@pytest.mark.parametrize(
    ("layout", "activation"), [("saelens", "topk"), ("saelens", "batchtopk"), ("saelens", "relu"), ("sparsify", "topk")]
)
def test_other_libraries_read_our_files_and_we_read_theirs(tmp_path: Path, layout, activation):
    sae, (rows, _) = trained_sae(activation), sparse_sums(100, seed=5)
    write_layout(sae, tmp_path / "ours", layout)
    save_file({"rows": rows}, tmp_path / "rows.safetensors")
    (tmp_path / "again").mkdir()
    command = [PEERS, READER, layout, tmp_path / "ours", tmp_path / "rows.safetensors", tmp_path / "out.safetensors"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    theirs = load_file(tmp_path / "out.safetensors")
    torch.testing.assert_close(theirs["codes"] * sae.scale, sae.encode(rows), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(theirs["output"], sae(rows), rtol=1e-3, atol=1e-3)
    assert_same(sae, read_any(tmp_path / "again"), rows)


def test_decoder_norms_and_one_sided_bias_are_folded_in(tmp_path: Path):
    """Compare with SAELens' formulas for these options."""
    generator = torch.Generator().manual_seed(0)
    encoder, decoder = (torch.randn(shape, generator=generator) for shape in ((5, 12), (12, 5)))
    b_enc, b_dec, rows = (torch.randn(shape, generator=generator) for shape in ((12,), (5,), (20, 5)))
    settings = {"architecture": "topk", "d_in": 5, "d_sae": 12, "k": 3}
    settings |= {"apply_b_dec_to_input": False, "rescale_acts_by_decoder_norm": True}
    (tmp_path / "cfg.json").write_text(json.dumps(settings))
    tensors = {"W_enc": encoder, "W_dec": decoder, "b_enc": b_enc, "b_dec": b_dec}
    save_file(tensors, tmp_path / "sae_weights.safetensors")
    norms = decoder.norm(dim=1)
    pre = (rows @ encoder + b_enc) * norms
    top = pre.topk(3)
    codes = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
    sae = read_any(tmp_path)
    torch.testing.assert_close(sae.encode(rows), codes)
    torch.testing.assert_close(sae(rows), (codes / norms) @ decoder + b_dec)


def test_pickled_weights_are_rejected_with_a_remedy(tmp_path: Path):
    (tmp_path / "state_dict.pth").write_bytes(b"\x80\x04")
    with pytest.raises(FeatureError, match="pickled") as caught:
        read_any(tmp_path)
    assert "save_file" in caught.value.remedy


@pytest.mark.parametrize("layout", ["sparsify", "openai"])
def test_activation_that_a_layout_does_not_support_is_rejected(tmp_path: Path, layout):
    with pytest.raises(FeatureError, match="TopK autoencoders only"):
        write_layout(trained_sae("batchtopk"), tmp_path, layout)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "setting", [{"architecture": "gated"}, {"normalize_activations": "layer_norm"}, {"reshape_activations": "hook_z"}]
)
def test_unsupported_saelens_settings_are_rejected(tmp_path: Path, setting):
    write_layout(trained_sae(), tmp_path, "saelens")
    config = tmp_path / LAYOUTS["saelens"].config
    config.write_text(json.dumps(json.loads(config.read_text()) | setting))
    with pytest.raises(FeatureError, match="Not supported"):
        read_any(tmp_path)


def saelens_file(folder: Path, activation: str, changes: dict[str, object], **more: torch.Tensor) -> SparseAutoencoder:
    """Write a SAELens autoencoder whose settings are changed (None removes one) and which has more tensors."""
    sae = trained_sae(activation)
    write_layout(sae, folder, "saelens")
    form = LAYOUTS["saelens"]
    settings = json.loads((folder / form.config).read_text()) | changes
    (folder / form.config).write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))
    save_file(load_file(folder / form.weights) | more, folder / form.weights)
    return sae


TOPK_KWARGS = {"k": None, "activation_fn_kwargs": {"k": 3}}


@pytest.mark.parametrize(
    ("activation", "changes"),
    [
        ("topk", {"architecture": "standard", "activation_fn_str": "topk", **TOPK_KWARGS}),
        ("topk", {"architecture": None, "activation_fn": "topk", **TOPK_KWARGS}),
        ("topk", TOPK_KWARGS),
        ("topk", {"k": 7, "activation_fn_kwargs": {"k": 3}}),
        ("relu", {"architecture": None}),
        ("relu", {"architecture": None, "activation_fn_str": "relu", "activation_fn_kwargs": {}}),
        ("relu", {"normalize_activations": False, "finetuning_scaling_factor": True}),
    ],
)
def test_settings_of_older_saelens_are_read(tmp_path: Path, activation, changes):
    sae, (rows, _) = saelens_file(tmp_path, activation, changes), sparse_sums(100, seed=5)
    loaded = read_any(tmp_path)
    assert (loaded.activation, activation != "topk" or loaded.k) == (activation, activation != "topk" or 3)
    assert_same(sae, loaded, rows)


@pytest.mark.parametrize(
    ("activation", "changes"),
    [
        ("relu", {"activation_fn_str": "topk"}),
        ("relu", {"activation_fn_str": "tanh-relu"}),
        ("topk", {"k": None}),
        ("relu", {"normalize_activations": True}),
        ("relu", {"reshape_activations": None, "hook_point": "blocks.0.attn.hook_z"}),
    ],
)
def test_saelens_settings_that_would_be_misread_are_rejected(tmp_path: Path, activation, changes):
    saelens_file(tmp_path, activation, changes)
    with pytest.raises(FeatureError, match="Not supported"):
        read_any(tmp_path)


@pytest.mark.parametrize("name", ["scaling_factor", "finetuning_scaling_factor"])
def test_finetuned_scaling_is_rejected_unless_it_is_one(tmp_path: Path, name):
    sae = saelens_file(tmp_path, "relu", {"finetuning_scaling_factor": True}, **{name: torch.ones(32)})
    assert_same(sae, read_any(tmp_path), sparse_sums(100, seed=5)[0])
    saelens_file(tmp_path, "relu", {"finetuning_scaling_factor": True}, **{name: torch.full((32,), 1.5)})
    with pytest.raises(FeatureError, match="other than 1"):
        read_any(tmp_path)


def test_unknown_layout_is_rejected(tmp_path: Path):
    with pytest.raises(FeatureError, match="Unknown layout"):
        write_layout(trained_sae(), tmp_path, "onnx")


def test_damaged_files_are_rejected(tmp_path: Path):
    write_layout(trained_sae(), tmp_path, "sparsify")
    (tmp_path / "cfg.json").write_text("{}")
    with pytest.raises(FeatureError, match="do not describe"):
        read_any(tmp_path)
