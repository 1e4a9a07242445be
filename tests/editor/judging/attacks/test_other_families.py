"""Attacks that need one family's way from states or latents to images skip the other families, and say why."""

from dataclasses import replace

import pytest

from editor.io.progress import no_progress
from editor.judging.attacks import AttackContext
from editor.judging.attacks.attack import AttackBudget, load_attack
from editor.judging.attacks.run import run_attack
from tests.fakes.pipelines import shared_pipeline

SKIPPED = {
    "sdxl": ["inversion_images", "resurgence"],
    "sd3": ["inversion_images", "noise_probe", "resurgence"],
    "flux": ["inversion_images", "noise_probe", "resurgence"],
}


@pytest.mark.parametrize(("family", "name"), [(family, name) for family, names in SKIPPED.items() for name in names])
def test_attack_is_skipped_before_anything_is_generated(
    monkeypatch: pytest.MonkeyPatch, context: AttackContext, family: str, name: str
) -> None:
    variant = replace(context.before, pipeline=shared_pipeline(family))
    other = replace(context, before=variant, after=variant)
    monkeypatch.setattr(AttackContext, "base_images", lambda *_: pytest.fail("generated images"))
    record = run_attack(load_attack(name), other, AttackBudget(2, 2, 0), no_progress)
    assert type(variant.pipeline).__name__ in str(record.skipped)
    assert (record.attempts, record.rate) == ([], None)
