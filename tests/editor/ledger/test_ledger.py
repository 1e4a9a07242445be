"""Properties of ledgers, tested on random ledgers with real solves of a small encoder."""

import hashlib
import json
import random
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_schemas.edits import EditOptions, Removal
from editor.checkpoints import Checkpoint, open_checkpoint
from editor.emoji.vocabulary import OBJECT_NAMES
from editor.errors import LedgerError
from editor.ledger import Ledger, LedgerEntry, LedgerFolder
from editor.prompts import ResolvedRemoval
from editor.solver import incremental_statistics

SLOW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def checkpoint(model_dir: Path) -> Checkpoint:
    return open_checkpoint(model_dir)


@pytest.fixture
def folder(tmp_path: Path) -> LedgerFolder:
    return LedgerFolder(tmp_path / "ledger")


def entry(concept: str, **more: object) -> LedgerEntry:
    replacements = [name for name in OBJECT_NAMES if name != concept]
    return LedgerEntry(
        removal=Removal(concept=concept, replacement=replacements[len(concept) % len(replacements)], **more),
        withhold_name=False,
    )  # type: ignore[arg-type]


def weights(folder: LedgerFolder, ledger: Ledger, checkpoint: Checkpoint) -> torch.Tensor:
    (done,) = folder.solve(ledger, checkpoint)
    return done.update.edited


CONCEPT_LISTS = st.lists(st.sampled_from(OBJECT_NAMES[:20]), min_size=1, max_size=6, unique=True)


@SLOW
@given(names=CONCEPT_LISTS, shuffle=st.randoms())
def test_weights_do_not_depend_on_the_order_of_removals(
    names: list[str], shuffle: random.Random, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here, there = (LedgerFolder(tmp_path_factory.mktemp("ledger")) for _ in range(2))
    straight = here.read_for(checkpoint).add(entry(name) for name in names)
    shuffle.shuffle(names)
    one_by_one = there.read_for(checkpoint)
    for name in names:
        one_by_one = one_by_one.add([entry(name)])
        other = weights(there, one_by_one, checkpoint)
    assert one_by_one.digest == straight.digest
    assert torch.equal(weights(here, straight, checkpoint), other)


@SLOW
@given(names=CONCEPT_LISTS, extra=st.sampled_from(OBJECT_NAMES[20:40]))
def test_revoked_removal_leaves_no_trace(
    names: list[str], extra: str, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fresh, used = (LedgerFolder(tmp_path_factory.mktemp("ledger")) for _ in range(2))
    never = fresh.read_for(checkpoint).add(entry(name) for name in names)
    added = used.read_for(checkpoint).add([*(entry(name) for name in names), entry(extra)])
    assert not torch.equal(weights(used, added, checkpoint), weights(fresh, never, checkpoint))
    revoked = added.revoke([extra])
    assert revoked.digest == never.digest
    assert torch.equal(weights(used, revoked, checkpoint), weights(fresh, never, checkpoint))
    assert [one.removal.concept for one in revoked.revoked] == [extra]


def test_only_changed_removals_are_summed_again(
    folder: LedgerFolder, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = folder.read_for(checkpoint).add(entry(name) for name in OBJECT_NAMES[:8])
    weights(folder, ledger, checkpoint)
    summed: list[str] = []
    original = incremental_statistics.IncrementalStatistics.change_to

    def counting(
        self: incremental_statistics.IncrementalStatistics[ResolvedRemoval], wanted: object, sums_of: object
    ) -> incremental_statistics.IncrementalStatistics[ResolvedRemoval]:
        def recorded_sum(removal: object) -> object:
            summed.append(removal.concept.name)  # type: ignore[attr-defined]
            return sums_of(removal)  # type: ignore[operator]

        return original(self, wanted, recorded_sum)  # type: ignore[arg-type]

    monkeypatch.setattr(incremental_statistics.IncrementalStatistics, "change_to", counting)
    weights(folder, ledger.add([entry("fox")]), checkpoint)
    assert summed == [] if "fox" in OBJECT_NAMES[:8] else ["fox"]
    weights(folder, ledger.add([entry("pizza")]).revoke([OBJECT_NAMES[1]]), checkpoint)
    assert set(summed) <= {"fox", "pizza", OBJECT_NAMES[1]}


def test_other_removals_stay_after_a_revocation(folder: LedgerFolder, checkpoint: Checkpoint) -> None:
    names = OBJECT_NAMES[:5]
    ledger = folder.read_for(checkpoint).add(entry(name) for name in names)
    folder.solve(ledger, checkpoint)
    (after,) = folder.solve(ledger.revoke([names[0]]), checkpoint)
    removed = next(p for p in after.record.trade_off if p.preservation == after.record.preservation).removed
    assert removed > 0.5


def test_name_is_withheld_if_any_request_for_the_removal_withholds_it(
    folder: LedgerFolder, checkpoint: Checkpoint
) -> None:
    ledger = folder.read_for(checkpoint).add([entry("fox")])
    again = ledger.add([entry("fox").model_copy(update={"withhold_name": True})])
    assert (ledger.withholds_names, again.withholds_names) == (False, True)
    assert again.digest == ledger.digest
    stored = again.model_dump_json().replace(',"withhold_name":true', "")
    assert Ledger.model_validate_json(stored).withholds_names, "earlier versions did not store it"


def test_adding_a_removal_twice_changes_nothing(folder: LedgerFolder, checkpoint: Checkpoint) -> None:
    ledger = folder.read_for(checkpoint).add([entry("fox")])
    again = ledger.add([entry("fox").model_copy(update={"label": "another ticket"})])
    assert again == ledger


def test_damaged_cache_files_are_recomputed(folder: LedgerFolder, checkpoint: Checkpoint) -> None:
    ledger = folder.read_for(checkpoint).add(entry(name) for name in OBJECT_NAMES[:4])
    before = weights(folder, ledger, checkpoint)
    files = list(folder.path.glob("*.safetensors"))
    assert len(files) == 2
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(weights(folder, ledger, checkpoint), before)


def test_empty_ledger_has_no_updates(folder: LedgerFolder, checkpoint: Checkpoint) -> None:
    ledger = folder.read_for(checkpoint).add([entry("fox")]).revoke(["fox"])
    assert folder.solve(ledger, checkpoint) == []


def test_ledger_round_trips_through_its_file(folder: LedgerFolder, checkpoint: Checkpoint) -> None:
    ledger = folder.read_for(checkpoint).add([entry("fox"), entry("owl")]).revoke(["owl"])
    folder.path.mkdir()
    folder.write(ledger)
    assert folder.read() == ledger == folder.read_for(checkpoint)


def test_options_of_all_removals_are_combined(folder: LedgerFolder, checkpoint: Checkpoint) -> None:
    removals = [entry("fox").removal, entry("owl").removal]
    options = [
        EditOptions(preservation=3.0, pins=["a pizza"]),
        EditOptions(preservation=8.0, pins=["a car", "a pizza"]),
    ]
    entries = [LedgerEntry(removal=removal, options=option) for removal, option in zip(removals, options, strict=True)]
    method = folder.read_for(checkpoint).add(entries).method
    assert method.preservation == 8.0
    assert method.pins == ("a car", "a pizza")


@pytest.mark.parametrize("name", ["nothing", "owl", "dead"])
def test_revoking_an_unknown_removal_is_rejected(name: str, folder: LedgerFolder, checkpoint: Checkpoint) -> None:
    with pytest.raises(LedgerError, match="No active removal"):
        folder.read_for(checkpoint).add([entry("fox")]).revoke([name])


def test_digest_of_an_entry_ignores_fields_that_came_later_unless_they_are_used() -> None:
    """The digests of ledgers that exist must not change with a new version."""
    plain, excluding = (LedgerEntry(removal=Removal(concept="fox", exclude_prompts=texts)) for texts in ([], ["a fox"]))
    old = {name: value for name, value in plain.removal.model_dump(mode="json").items() if name != "exclude_prompts"}
    options = plain.options.model_dump(mode="json", exclude={"method"}) | {"preset": "default"}
    content = json.dumps([old, options], sort_keys=True, separators=(",", ":"))
    assert plain.digest == hashlib.sha256(content.encode()).hexdigest() != excluding.digest


def test_ambiguous_name_is_rejected_but_a_digest_is_accepted(folder: LedgerFolder, checkpoint: Checkpoint) -> None:
    both = [entry("fox"), LedgerEntry(removal=Removal(concept="Fox", kind="style"))]
    ledger = folder.read_for(checkpoint).add(both)
    with pytest.raises(LedgerError, match="2 active removals"):
        ledger.revoke(["fox"])
    assert ledger.revoke([both[0].digest[:10]]).active == (both[1],)


def test_published_methods_are_rejected(folder: LedgerFolder, checkpoint: Checkpoint) -> None:
    with pytest.raises(LedgerError, match="uce"):
        folder.read_for(checkpoint).add(
            [LedgerEntry(removal=Removal(concept="fox"), options=EditOptions(method="uce"))]
        )


def test_ledger_of_another_base_model_is_rejected(folder: LedgerFolder, checkpoint: Checkpoint) -> None:
    folder.path.mkdir()
    folder.write(Ledger(base={"text_encoder": "0" * 64}))
    with pytest.raises(LedgerError, match="another base model"):
        folder.read_for(checkpoint)


def test_missing_and_damaged_ledgers_have_different_errors(folder: LedgerFolder) -> None:
    with pytest.raises(LedgerError, match="contains no ledger"):
        folder.read()
    folder.path.mkdir()
    folder.file.write_text("{}")
    with pytest.raises(LedgerError, match="not a ledger"):
        folder.read()


# Removals that are also solved in the denoiser.


def everywhere(concept: str) -> LedgerEntry:
    return entry(concept).model_copy(update={"options": EditOptions(sites="all")})


def denoiser_weights(folder: LedgerFolder, ledger: Ledger, pipeline: Checkpoint) -> dict[str, torch.Tensor]:
    return {update.name: update.edited for done in folder.solve(ledger, pipeline) for update in done.updates}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def pipeline(pipeline_dir: Path) -> Checkpoint:
    return open_checkpoint(pipeline_dir)


def test_every_site_is_summed_and_revoked_exactly(folder: LedgerFolder, pipeline: Checkpoint, tmp_path: Path) -> None:
    other = LedgerFolder(tmp_path / "other")
    alone, _ = other.preview_add(pipeline, [everywhere("fox")])
    both, _ = folder.preview_add(pipeline, [everywhere("owl"), everywhere("fox")])
    swapped, _ = other.preview_add(pipeline, [everywhere("fox"), everywhere("owl")])
    joint = denoiser_weights(folder, both, pipeline)
    assert equal(joint, denoiser_weights(other, swapped, pipeline))
    assert both.digest == swapped.digest
    revoked = both.revoke(["owl"])
    assert revoked.digest == alone.digest
    assert equal(denoiser_weights(folder, revoked, pipeline), denoiser_weights(other, alone, pipeline))
    assert not equal(joint, denoiser_weights(folder, revoked, pipeline))


def test_a_removal_is_solved_where_it_was_requested(folder: LedgerFolder, pipeline: Checkpoint) -> None:
    mixed, _ = folder.preview_add(pipeline, [entry("owl"), everywhere("fox")])
    alone, _ = folder.preview_add(pipeline, [everywhere("fox")])
    encoder, denoiser = folder.solve(mixed, pipeline)
    assert (len(encoder.updates), len(denoiser.updates)) == (1, 14)
    _, expected = folder.solve(alone, pipeline)
    for one, other in zip(denoiser.updates, expected.updates, strict=True):
        assert torch.equal(one.edited, other.edited)


def test_ledger_of_the_denoiser_knows_its_model(folder: LedgerFolder, pipeline: Checkpoint) -> None:
    added, _ = folder.preview_add(pipeline, [everywhere("fox")])
    assert added.knows_denoiser
    folder.path.mkdir()
    folder.write(added)
    assert folder.read_for(pipeline).base == added.base
    folder.write(added.model_copy(update={"base": added.base | {"unet": "0" * 64}}))
    with pytest.raises(LedgerError, match="another base model"):
        folder.read_for(pipeline)
