import pytest
import torch

from editor.solver.risk_curves import CLIP_CURVES, TEXT_GATE_CURVES, RiskCurves


@pytest.mark.parametrize("curves", [CLIP_CURVES, TEXT_GATE_CURVES])
def test_risks_rise_from_an_ideal_edit_to_none(curves: RiskCurves) -> None:
    for curve in (curves.missed, curves.spoiled, curves.found):
        assert float(curve(torch.tensor(curve.midpoint))) == pytest.approx(0.5)
        assert float(curve(torch.tensor(0.0))) < 0.01
    assert float(curves.missed(torch.tensor(1.0))) > 0.9, "the destination is not reached"
    assert float(curves.found(torch.tensor(1.0))) > 0.9, "the concept is as it was"
