from pathlib import Path

import pytest
import torch

from api_schemas.edits import EditOptions, MethodName
from editor.checkpoints import Checkpoint, open_checkpoint
from editor.errors import SiteError
from editor.methods.config import MethodConfig
from editor.methods.denoiser_edit import edit_denoiser
from editor.methods.tensor_edits import SharedEdit
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.sites.registry import denoiser_sites
from editor.sites.stream_site import StreamSite

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
INK = ResolvedRemoval(Concept("ink", "style"), Destination("", "null"))


@pytest.fixture(scope="module")
def checkpoint(pipeline_dir: Path) -> Checkpoint:
    return open_checkpoint(pipeline_dir)


@pytest.fixture(scope="module")
def site(checkpoint: Checkpoint, builder: PromptBuilder) -> StreamSite:
    (found,) = denoiser_sites(checkpoint, [builder], EditOptions(sites="all"))
    return found


@pytest.fixture(scope="module")
def done(site: StreamSite, builder: PromptBuilder) -> SharedEdit:
    (edit,) = edit_denoiser([site], builder, [FOX])
    return edit


def test_keys_and_values_of_the_concept_become_the_destinations(
    done: SharedEdit, site: StreamSite, builder: PromptBuilder
) -> None:
    rows = site.rows(builder.held_out_pairs(FOX), "attention")
    for update in done.updates:
        base, after = update.base.double(), update.edited.double()
        wanted = rows.residuals @ base.T
        left = (rows.keys[rows.key_index] + rows.residuals) @ base.T - rows.keys[rows.key_index] @ after.T
        assert left.square().sum(1) @ rows.weights < 0.25 * (wanted.square().sum(1) @ rows.weights)
    assert done.record.feasibility[0].left < 0.25


def test_null_prompt_keeps_its_values(done: SharedEdit, site: StreamSite, builder: PromptBuilder) -> None:
    null, _ = site.protected_keys(builder.tokenize(""), [])
    for update in done.updates:
        assert (null @ update.down.T @ update.up.T).abs().max() < 1e-9


def test_order_of_removals_does_not_matter(site: StreamSite, builder: PromptBuilder) -> None:
    one, other = (edit_denoiser([site], builder, order)[0] for order in ([FOX, INK], [INK, FOX]))
    for left, right in zip(one.updates, other.updates, strict=True):
        assert torch.equal(left.edited, right.edited)


def test_record_names_every_tensor(done: SharedEdit) -> None:
    record = done.record
    assert (record.component, record.site, record.layer) == ("unet", "cross_attention", None)
    assert record.shared_by == [update.name for update in done.updates]


@pytest.mark.parametrize("name", ["uce", "double_projections", "speed"])
def test_published_methods_edit_cross_attention(name: MethodName, site: StreamSite, builder: PromptBuilder) -> None:
    (edit,) = edit_denoiser([site], builder, [FOX], MethodConfig(name))
    assert (edit.record.method, len(edit.updates)) == (name, len(site.weights.names))
    assert edit.record.residual is not None
    assert edit.record.residual < 1, "nearer to the destination"


def test_oce_rotates_the_values_of_all_maps_together(site: StreamSite, builder: PromptBuilder) -> None:
    (edit,) = edit_denoiser([site], builder, [FOX], MethodConfig("oce"))
    rows = site.rows(builder.edit_pairs(FOX), "attention").keys
    before, after = (
        [rows @ getattr(one, side).double().T / one.base.double().norm() for one in edit.updates]
        for side in ("base", "edited")
    )
    lengths = [torch.cat(values, dim=1).norm(dim=1) for values in (before, after)]
    torch.testing.assert_close(*lengths, rtol=1e-5, atol=0)


def test_diff_quickfix_is_refused_in_the_denoiser(site: StreamSite, builder: PromptBuilder) -> None:
    with pytest.raises(SiteError, match="text encoder only"):
        edit_denoiser([site], builder, [FOX], MethodConfig("diff_quickfix"))


def test_sites_that_the_model_lacks_are_refused(
    checkpoint: Checkpoint, model_dir: Path, builder: PromptBuilder
) -> None:
    with pytest.raises(SiteError, match="no site 'text_gate'; it has cross_attention"):
        denoiser_sites(checkpoint, [builder], EditOptions(sites=["cross_attention", "text_gate"]))
    with pytest.raises(SiteError, match="no site of a denoiser"):
        denoiser_sites(open_checkpoint(model_dir), [builder], EditOptions(sites="all"))
