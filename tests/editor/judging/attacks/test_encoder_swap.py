from dataclasses import replace

import pytest

from api_schemas.edits import EditOptions
from editor import emoji
from editor.checkpoints import open_checkpoint
from editor.io.progress import report_fraction
from editor.judging.attacks import AttackContext
from editor.judging.attacks.attack import AttackBudget
from editor.judging.attacks.encoder_swap import EncoderSwap
from editor.methods.denoiser_edit import edit_denoiser
from editor.sites.registry import denoiser_sites

BUDGET = AttackBudget(limit=6, images=6, seed=0)


@pytest.fixture(scope="module")
def closed(context: AttackContext) -> AttackContext:
    """The context of an edit of the text encoder and of the denoiser's cross-attention."""
    sites = denoiser_sites(open_checkpoint(emoji.WEIGHTS), [context.prompt_builder], EditOptions(sites="all"))
    (done,) = edit_denoiser(sites, context.prompt_builder, [context.removal])
    return replace(context, updates=[*context.updates, *done.updates])


def test_original_encoder_undoes_an_edit_of_the_encoder_alone(context: AttackContext) -> None:
    record = EncoderSwap().run(context, BUDGET, report_fraction)
    assert record.rate is not None
    assert record.rate.value >= 0.8
    assert record.rate == record.rate_before


def test_original_encoder_does_not_undo_an_edit_of_every_route(closed: AttackContext) -> None:
    record = EncoderSwap().run(closed, BUDGET, report_fraction)
    assert record.rate is not None
    assert record.rate.value <= 0.1
    assert record.measures == {"tensors of the denoiser that are edited": 14.0}
