"""The form of a removal: its request, its errors, its repetition, and lists of removals."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from api_schemas.edits import EditRequest, Removal, Validation
from service.core.csv_removals import parse_csv
from service.store import jobs
from service.store.jobs import NewJob
from service.store.orm import Job
from service.web.removal_form import RemovalForm, to_csv
from tests.contract.conftest import SampleService
from tests.service.web.conftest import SignedIn

FORM = {
    "model": "tiny",
    "concept": "fox",
    "kind": "object",
    "becomes": "named",
    "replacement": "dog face",
    "seeds": "2",
}
MARKUP = "<script>alert(1)</script>"


def edit_ids(sample: SampleService) -> set[str]:
    with sample.app_state.database.read() as session:
        return set(session.scalars(select(Job.id).where(Job.tenant == "one", Job.kind == "removal")))


def request_of(sample: SampleService, edit_id: str) -> EditRequest:
    with sample.app_state.database.read() as session:
        return EditRequest.model_validate(session.get_one(Job, edit_id).request)


@pytest.fixture
def client(signed_in: SignedIn) -> TestClient:
    return signed_in()


def test_form_makes_the_request(sample: SampleService, client: TestClient) -> None:
    lists = {"aliases": "vixen\nred fox, Reynard", "preserve": "wolf", "offered": ["fox", "foxes"], "name": ["fox"]}
    lists |= {"offered_prompt": ["a fox", "a red fox"], "prompt": ["a red fox"]}
    reply = client.post("/remove", data=FORM | lists | {"policy": "strict", "ledger": "true", "key": "1"})
    assert reply.status_code == 303
    wanted = request_of(sample, reply.headers["location"].removeprefix("/jobs/"))
    assert wanted == EditRequest(
        model="tiny",
        removals=[
            Removal(
                concept="fox",
                replacement="dog face",
                aliases=["vixen", "red fox", "Reynard"],
                preserve=["wolf"],
                exclude=["foxes"],
                exclude_prompts=["a fox"],
            )
        ],
        ledger=True,
        validation=Validation(seeds=2, policy="strict"),
    )


def test_form_sent_twice_makes_one_job(sample: SampleService, client: TestClient) -> None:
    before = edit_ids(sample)
    first, second = (client.post("/remove", data=FORM | {"key": "k"}).headers["location"] for _ in range(2))
    assert first == second
    assert client.post("/remove", data=FORM | {"key": "k", "concept": "owl"}).headers["location"] != first
    assert len(edit_ids(sample) - before) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"concept": ""}, "Concept"),
        ({"replacement": "Fox"}, "Is the concept itself"),
        ({"model": "none"}, "Registered models: tiny"),
        ({"seeds": "many"}, "Seeds"),
        ({"kind": MARKUP}, "Kind"),
        ({"concept": "a " * 40}, "Concept"),
    ],
)
def test_wrong_field_is_named_and_nothing_is_queued(
    sample: SampleService, client: TestClient, wrong: dict[str, str], message: str
) -> None:
    before = edit_ids(sample)
    reply = client.post("/remove", data=FORM | wrong)
    assert reply.status_code == 422
    assert message in reply.text
    assert edit_ids(sample) == before


def test_empty_form_is_answered(client: TestClient) -> None:
    assert client.post("/remove").status_code == 422
    assert client.post("/remove/many").status_code == 422


def test_values_are_kept_and_escaped(client: TestClient) -> None:
    text = client.post(
        "/remove", data=FORM | {"concept": MARKUP, "seeds": "0", "aliases": MARKUP, "offered": MARKUP}
    ).text
    assert MARKUP not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3


@pytest.mark.parametrize(
    "removal",
    [
        Removal(concept="fox", replacement="dog face", aliases=["vixen"], exclude=["foxes"], spellings=["f0x"]),
        Removal(concept="fox", exclude_prompts=["a fox in the snow"]),
        Removal(concept="ink", kind="style", generic="auto", titles=["Blots"]),
        Removal(concept="owl", generic="animal"),
        Removal(concept="owl", generic="animal", replacement=None),
        Removal(concept="owl", replacement=None),
        Removal(concept="Ann Example", kind="person", preserve=["man", "woman"]),
    ],
)
def test_earlier_request_is_repeated_unchanged(removal: Removal) -> None:
    """What the form does not show stays as it was."""
    request = EditRequest(model="tiny", removals=[removal], seed=7, validation=Validation(steps=5, retain_prompts=3))
    assert RemovalForm.from_request(request).request(request) == request


def test_edit_of_another_tenant_is_not_a_template(sample: SampleService, signed_in: SignedIn) -> None:
    other, edit_id = signed_in("two"), sample.owned["edit_id"]
    assert other.get(f"/remove?edit={edit_id}").status_code == 404
    assert "quokka" not in other.post("/remove/preview", data=FORM | {"edit": edit_id}).text
    reply = other.post("/remove", data=FORM | {"edit": edit_id})
    assert reply.status_code == 404


def test_conflict_with_the_ledger_names_both_parties(client: TestClient) -> None:
    """The sample has removed the quokka, so nothing can become one."""
    reply = client.post("/remove", data=FORM | {"replacement": "quokka", "ledger": "true"})
    assert reply.status_code == 409
    assert "quokka" in reply.text


def test_rows_are_checked_before_anything_is_queued(sample: SampleService, client: TestClient) -> None:
    before = edit_ids(sample)
    rows = f"concept;replacement\nheron;stork\nheron;gull\n{MARKUP};{MARKUP}\n"
    reply = client.post("/remove/many", data={"model": "tiny"}, files={"file": ("list.csv", rows)})
    assert "1 of 3 rows are valid" in reply.text
    assert MARKUP not in reply.text
    assert edit_ids(sample) == before
    done = client.post("/remove/many", data={"model": "tiny", "rows": rows, "queue": "yes"})
    (edit_id,) = edit_ids(sample) - before
    assert done.headers["location"] == f"/jobs/{edit_id}"
    assert [one.concept for one in request_of(sample, edit_id).removals] == ["heron"]


@pytest.mark.parametrize("rows", ["", "name\nfox\n", "concept\n", "concept\n" + "x\n" * 1001])
def test_unreadable_list_is_refused_with_a_reason(client: TestClient, rows: str) -> None:
    reply = client.post("/remove/many", data={"model": "tiny", "rows": rows})
    assert reply.status_code == 422
    assert 'class="notice danger"' in reply.text


def test_edit_with_many_removals_is_repeated_as_a_list(sample: SampleService, client: TestClient) -> None:
    removals = [Removal(concept="fox", aliases=["vixen", "red fox"]), Removal(concept="ink", kind="style")]
    with sample.app_state.database.write() as session:
        request = EditRequest(model="tiny", removals=removals)
        edit_id = jobs.create(session, NewJob(request, "k", tenant="one"), now=sample.app_state.clock()).id
    assert "fox,object,vixen|red fox" in client.get(f"/remove?edit={edit_id}").text
    assert to_csv(removals) == "concept,kind,aliases\nfox,object,vixen|red fox\nink,style,\n"


def test_list_of_an_edit_makes_the_same_removals() -> None:
    removals = [
        Removal(concept="fox", replacement="dog face", exclude=["foxes", "foxy"]),
        Removal(concept="owl", replacement=None),
        Removal(concept="owl face", replacement=None, generic="animal"),
        Removal(concept="bear"),
        Removal(concept="ink", kind="style", generic="auto", titles=["Blots"]),
    ]
    assert [Removal.model_validate(one) for one in parse_csv(to_csv(removals).encode())] == removals


def test_retry_submits_the_same_request(sample: SampleService, client: TestClient) -> None:
    edit_id = sample.owned["edit_id"]
    location = client.post(f"/jobs/{edit_id}/retry").headers["location"]
    assert request_of(sample, location.removeprefix("/jobs/")) == request_of(sample, edit_id)
