"""Requests and ledgers of models that read prompts without CLIP, which are edited at their text gate alone."""

from pathlib import Path

import pytest

from api_schemas.edits import EditRequest
from api_schemas.errors import UsageError
from editor.checkpoints import open_checkpoint
from editor.errors import EditorError, SiteError
from editor.generation.config import Sampler
from editor.jobs.forecast import solve
from editor.jobs.model import Model, open_model
from editor.ledger import LedgerFolder, entries_from_request
from editor.methods.tensor_edits import SharedEdit
from editor.sites.registry import name_sites
from editor.tracing.traced_model import TracedModel
from tests.fakes.pipelines import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(save_model("pixart", tmp_path_factory.mktemp("pixart") / "model"))


def request(*concepts: str, **options: object) -> EditRequest:
    removals = [{"concept": one} for one in concepts]
    return EditRequest.model_validate({"model": "pixart", "removals": removals, "options": options})


@pytest.mark.parametrize("sites", ["default", "all", ["text_gate"]])
def test_every_choice_of_sites_that_has_the_gate_edits_it(model: Model, sites: object) -> None:
    (edit,) = solve(model, request("fox", sites=sites))
    assert isinstance(edit, SharedEdit)
    assert [one.name for one in edit.updates] == ["caption_projection.linear_1.weight"]


@pytest.mark.parametrize("options", [{"sites": [0]}, {"sites": ["text_encoder"]}, {"method": "diff_quickfix"}])
def test_a_text_encoder_that_is_not_there_is_refused(model: Model, options: dict[str, object]) -> None:
    with pytest.raises(SiteError, match="has no CLIP text encoder") as caught:
        solve(model, request("fox", **options))
    assert caught.value.field == "options.sites"


def test_a_revoked_removal_leaves_the_bytes_of_the_others(model: Model, tmp_path: Path) -> None:
    folder, checkpoint = LedgerFolder(tmp_path / "ledger"), model.checkpoint
    fox, owl = (
        entries_from_request(asked, name_sites(asked.options, checkpoint)) for asked in (request("fox"), request("owl"))
    )
    alone = folder.solve(folder.read_for(checkpoint).add(fox), checkpoint)
    both = folder.read_for(checkpoint).add(fox).add(owl)
    left = folder.solve(both.revoke(["owl"]), checkpoint)
    expected, found = ([one.tolist() for edit in edits for one in edit.factors] for edits in (alone, left))
    assert expected == found


def test_a_trace_says_that_it_needs_clip(model: Model) -> None:
    with pytest.raises(UsageError, match="reads prompts without CLIP"):
        _ = TracedModel(model.path, model.path, Sampler(2, 3.0)).text_encoders


def test_a_model_whose_encoder_is_another_one_is_refused(model: Model, tmp_path: Path) -> None:
    folder = save_model("pixart", tmp_path / "model")
    config = folder / "text_encoder" / "config.json"
    config.write_text(config.read_text().replace('"t5"', '"umt5"'))
    with pytest.raises(EditorError, match="is umt5, not t5"):
        open_checkpoint(folder)
