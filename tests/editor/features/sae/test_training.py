"""Training of sparse autoencoders: gradients, dead latents, schedule, determinism and resuming."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from editor.errors import FeatureError
from editor.features.sae import SaeConfig, SparseAutoencoder, load_sae, revelio_config, train_sae
from editor.features.sae.dead_latents import DeadLatentTracker, auxiliary_loss
from editor.features.sae.initialization import geometric_median, initialize_sae
from editor.features.sae.sparse_autograd import reconstruct
from editor.features.sae.sparse_codes import SparseCode, batch_top_k, top_k
from editor.features.sae.training import SaeTrainer, project_gradient
from tests.editor.features.sae.synthetic import sparse_sums

SMALL_CONFIG = SaeConfig(latents=32, k=3, steps=60, batch=64, precision="float32")


def sae_parameters(latents: int = 12, width: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(latents, width), (latents,), (latents, width), (width,)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("select", [top_k, batch_top_k])
def test_sparse_gradients_match_dense_gradients(select):
    """Compare with the reconstruction by dense products and autograd."""
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    encoder, latent_bias, decoder, pre_bias = values = sae_parameters()
    weights = torch.randn(7, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sparse = reconstruct(x, *values, partial(select, k=3), precision=torch.float64)
    found = torch.autograd.grad((sparse * weights).sum(), values)
    pre = (x - pre_bias) @ encoder.T + latent_bias
    mask = select(pre.detach(), 3).dense() > 0
    dense = (pre * mask) @ decoder + pre_bias
    expected = torch.autograd.grad((dense * weights).sum(), values)
    torch.testing.assert_close(sparse, dense)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_codes_are_the_largest_values():
    pre = torch.tensor([[3.0, -1.0, 2.0, 1.0], [-1.0, -2.0, -3.0, 0.5]])
    assert top_k(pre, 2).dense().tolist() == [[3, 0, 2, 0], [0, 0, 0, 0.5]]
    assert batch_top_k(pre, 1).dense().tolist() == [[3, 0, 2, 0], [0, 0, 0, 0]]
    code = batch_top_k(pre, 1)
    matrix = torch.arange(8.0).view(4, 2)
    torch.testing.assert_close(code.matmul(matrix), code.dense() @ matrix)
    torch.testing.assert_close(code.transpose().dense(), code.dense().T)


def test_dead_latents_learn_the_residual_with_the_right_sign():
    """With one dead latent and one missing direction, the auxiliary loss alone turns the latent towards the direction."""
    torch.manual_seed(0)
    missing = F.normalize(torch.randn(6), dim=0)
    x = torch.rand(64, 1) * missing + 5.0
    sae = SparseAutoencoder(6, 2, k=1)
    with torch.no_grad():
        sae.pre_bias.fill_(5.0)
        sae.decoder.copy_(F.normalize(missing + 0.4 * torch.randn(2, 6)))
        sae.encoder.copy_(sae.decoder)
    before = F.cosine_similarity(sae.decoder[1], missing, dim=0).item()
    optimiser = torch.optim.Adam(sae.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        loss = auxiliary_loss(sae, x, x - 5.0, torch.tensor([1]), k=1)
        loss.backward()
        assert sae.pre_bias.grad is None
        optimiser.step()
    assert loss.item() < 0.05
    assert F.cosine_similarity(sae.decoder[1], missing, dim=0).item() > max(before, 0.98)


def test_latent_is_dead_after_the_window_until_it_is_active():
    idle = DeadLatentTracker(3, window=10, device=torch.device("cpu"))
    for _ in range(3):
        idle.update(torch.tensor([1, 0, 0]), rows=4)
    assert idle.dead.tolist() == [1, 2]
    idle.update(torch.tensor([0, 5, 0]), rows=4)
    assert idle.dead.tolist() == [2]


def test_dead_window_suits_small_data():
    config = SaeConfig(latents=8, k=2, batch=100)
    assert (config.dead_window(200), config.dead_window(10_000)) == (5000, 20_000)


def test_learning_rate_schedule():
    config = SaeConfig(latents=8, k=2, steps=100, learning_rate=1.0)
    rates = [config.learning_rate_at(step) for step in range(100)]
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert rates[79:] == pytest.approx([1.0, *(1 - n / 20 for n in range(20))])


def test_geometric_median_is_robust_to_outliers():
    rows = torch.cat(
        [torch.randn(200, 4, generator=torch.Generator().manual_seed(0)), torch.full((20, 4), 1e4)]
    ).double()
    median = geometric_median(rows)
    pull = F.normalize(rows - median).sum(0)
    assert pull.norm() < 1e-3
    assert median.norm() < 1


def test_rows_are_scaled_to_their_width():
    rows, _ = sparse_sums(500)
    sae = initialize_sae(rows * 40, SMALL_CONFIG)
    assert sae.normalize(rows * 40).square().sum(1).mean().item() == pytest.approx(16, rel=1e-4)


def test_decoder_rows_stay_unit_vectors():
    rows, _ = sparse_sums(300)
    run = SaeTrainer(rows, SMALL_CONFIG, torch.device("cpu"))
    run.train_step()
    run.sae.decoder.grad = torch.randn(run.sae.decoder.shape)
    project_gradient(run.sae.decoder)
    along = (run.sae.decoder * run.sae.decoder.grad).sum(1)
    assert along.abs().max() < 1e-5
    assert (run.sae.decoder.norm(dim=1) - 1).abs().max() < 1e-6


def test_weights_depend_only_on_the_seed():
    rows, _ = sparse_sums(300)
    one, same, other = (
        train_sae(rows, SMALL_CONFIG.model_copy(update={"seed": seed}), quiet=True).sae for seed in (0, 0, 1)
    )
    assert torch.equal(one.decoder, same.decoder)
    assert not torch.allclose(one.decoder, other.decoder)


@pytest.mark.parametrize("activation", ["topk", "batchtopk", "relu"])
def test_resumed_training_is_bit_identical(tmp_path: Path, activation):
    rows, _ = sparse_sums(300)
    config = SMALL_CONFIG.model_copy(update={"activation": activation})
    whole = train_sae(rows, config, quiet=True)
    first = SaeTrainer(rows, config, torch.device("cpu"))
    for _ in range(23):
        first.train_step()
    first.save(tmp_path / "checkpoint.safetensors")
    resumed = train_sae(rows, config, folder=tmp_path, quiet=True)
    assert resumed.losses == whole.losses
    for name, value in whole.sae.state_dict().items():
        assert torch.equal(value, resumed.sae.state_dict()[name])


def test_checkpoint_of_another_run_is_rejected(tmp_path: Path):
    rows, _ = sparse_sums(300)
    train_sae(rows, SMALL_CONFIG, folder=tmp_path, quiet=True)
    for other, config in ((rows, SMALL_CONFIG.model_copy(update={"k": 2})), (rows + 1, SMALL_CONFIG)):
        with pytest.raises(FeatureError, match="another configuration or other rows"):
            train_sae(other, config, folder=tmp_path, quiet=True)


@pytest.mark.parametrize("rows", [torch.zeros(1, 4), torch.tensor([[1.0, float("nan")], [0.0, 1.0]])])
def test_too_few_or_non_finite_rows_are_rejected(rows: Tensor):
    with pytest.raises(FeatureError):
        train_sae(rows, SMALL_CONFIG, quiet=True)


def test_batch_topk_code_does_not_depend_on_the_batch_after_training(tmp_path: Path):
    """A code is the same alone, in a batch, and after saving, and has about k active latents on average."""
    rows, _ = sparse_sums(2000)
    sae = train_sae(rows, SMALL_CONFIG.model_copy(update={"activation": "batchtopk", "steps": 400}), quiet=True).sae
    sae.save(tmp_path)
    again = load_sae(tmp_path)
    torch.testing.assert_close(again.encode(rows)[:1], again.encode(rows[:1]))
    assert torch.equal(sae.encode(rows), again.encode(rows))
    assert 2 < (again.encode(rows) > 0).sum(1).float().mean() < 4


def test_l1_weight_reduces_active_latents():
    rows, _ = sparse_sums(1000)
    config = SMALL_CONFIG.model_copy(update={"activation": "relu", "steps": 400})
    few, many = (
        (train_sae(rows, config.model_copy(update={"l1": l1}), quiet=True).sae.encode(rows) > 0).sum(1).float().mean()
        for l1 in (4.0, 0.1)
    )
    assert few < many / 2


def test_revelio_settings():
    config = revelio_config(1280)
    assert (config.latents, config.k, config.batch, config.steps) == (81_920, 32, 8192, 10_240)
    assert (config.momentum, config.squares) == (0.9, 0.999)
    assert (config.learning_rate_at(0), config.learning_rate_at(499), config.learning_rate_at(10_239)) == (
        4e-4 / 500,
        4e-4,
        4e-4,
    )
    sae = initialize_sae(sparse_sums(50)[0], config.model_copy(update={"latents": 8, "k": 2}))
    assert not torch.equal(sae.encoder, sae.decoder)


def test_folder_without_an_autoencoder_is_rejected(tmp_path: Path):
    with pytest.raises(FeatureError, match="does not contain a readable"):
        load_sae(tmp_path)


def test_sparse_code_row_indices_and_firing_counts():
    code = SparseCode(torch.tensor([0, 2, 2]), torch.tensor([1, 0, 1]), torch.tensor([1.0, 0.0, 2.0]), 3)
    assert code.row_indices.tolist() == [0, 0, 2]
    assert code.firing_counts().tolist() == [0, 2, 0]
