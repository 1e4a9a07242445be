"""The benchmark at a size that takes a second."""

import pytest
import torch

from editor.bench import sae
from editor.bench.sae_competitors import BatchStream
from editor.errors import FeatureError
from editor.features.sae.toy_superposition import ToySuperposition

CONFIG = sae.CONFIG.model_copy(update={"latents": 64, "k": 4, "batch": 64, "steps": 60})
DATA = ToySuperposition(width=16, directions=32, active=4)


def test_all_sides_learn_from_the_same_rows():
    data = sae.prepare_data(DATA, rows=640)
    assert data.rows.square().sum(1).mean().item() == pytest.approx(16, rel=1e-4)
    for training_run in (sae.train_ours(data, CONFIG), sae.train_plain_loop(data, CONFIG)):
        assert len(training_run.seconds) == 60
        assert training_run.fvu < 0.6


def test_plain_loop_is_the_peer_without_the_libraries(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(sae.PYTHON_VARIABLE, raising=False)
    result = sae.run(CONFIG, DATA, rows=640)
    faster, equal_steps, equal_time = (bound.name for bound in result.bounds)
    assert faster == "steps a second over plain PyTorch"
    assert equal_steps.endswith("of plain PyTorch")
    assert "in the time of" in equal_time
    assert result.ratio.unit == "x"


def test_rates_are_steps_over_their_seconds():
    assert sae.TrainingRun([0.5] * 20, 0.1).rates == [2.0] * 10


def test_stream_cycles_and_times_each_step():
    stream = BatchStream(torch.arange(6.0)[:, None], {"steps": 4, "batch": 2})
    assert [batch[0, 0].item() for batch in stream] == [0, 2, 4, 0]
    assert len(stream.step_seconds()) == 4


def test_interpreter_without_the_libraries_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(sae.PYTHON_VARIABLE, "false")
    with pytest.raises(FeatureError, match="make peers"):
        sae.train_libraries(sae.prepare_data(DATA, rows=128), CONFIG)
