"""The benchmark at a size that takes a second: its sides learn, and its figures are of what they did."""

import pytest
import torch

from editor.bench import sae
from editor.bench.sae_competitors import Stream
from editor.errors import FeatureError
from editor.features.sae.toy_superposition import ToySuperposition

CONFIG = sae.CONFIG.model_copy(update={"latents": 64, "k": 4, "batch": 64, "steps": 60})
WORLD = ToySuperposition(width=16, directions=32, active=4)


def test_all_sides_learn_from_the_same_rows():
    data = sae.prepare(WORLD, rows=640)
    assert data.rows.square().sum(1).mean().item() == pytest.approx(16, rel=1e-4)
    for side in (sae.train_ours(data, CONFIG), sae.train_plainly_timed(data, CONFIG)):
        assert len(side.seconds) == 60
        assert side.fvu < 0.6


def test_without_the_libraries_the_plain_loop_is_the_peer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(sae.INTERPRETER, raising=False)
    outcome = sae.run(CONFIG, WORLD, rows=640)
    faster, equal_steps, equal_time = (bound.name for bound in outcome.bounds)
    assert faster == "steps a second over plain PyTorch"
    assert equal_steps.endswith("of plain PyTorch")
    assert "in the time of" in equal_time
    assert outcome.ratio.unit == "x"


def test_rates_are_steps_over_their_seconds():
    assert sae.Side([0.5] * 20, 0.1).rates == [2.0] * 10


def test_a_stream_goes_round_and_tells_each_step():
    stream = Stream(torch.arange(6.0)[:, None], {"steps": 4, "batch": 2})
    assert [batch[0, 0].item() for batch in stream] == [0, 2, 4, 0]
    assert len(stream.seconds()) == 4


def test_an_interpreter_without_the_libraries_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(sae.INTERPRETER, "false")
    with pytest.raises(FeatureError, match="make peers"):
        sae.libraries(sae.prepare(WORLD, rows=128), CONFIG)
