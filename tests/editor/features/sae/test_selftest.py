"""Training recovers known features, with the settings of `expunge features selftest`."""

from editor.features.sae.initialization import initialize_sae
from editor.features.sae.metrics import recovered_share
from editor.features.sae.selftest import SELFTEST_CONFIG, TOY_DATA, run_selftest


def test_selftest_recovers_nine_tenths_of_the_directions():
    """256 directions in 64 dimensions, six per row on average; measured 0.945 with seed 0, one thread, bfloat16."""
    found = run_selftest(quiet=True)
    assert found.ok
    assert found.recovered >= 0.9
    assert found.fvu < 0.2
    assert found.dead < 0.02
    assert found.fvu_train < found.fvu


def test_untrained_dictionary_recovers_nothing():
    sae = initialize_sae(TOY_DATA.rows(1000), SELFTEST_CONFIG)
    assert recovered_share(sae.decoder.detach(), TOY_DATA.true_directions()) < 0.02


def test_toy_frequencies_sum_to_active_and_differ():
    frequencies = TOY_DATA.frequencies()
    assert abs(float(frequencies.sum()) - TOY_DATA.active) < 0.05
    assert frequencies.max() > 5 * frequencies.min()
