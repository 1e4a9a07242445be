"""Cases on each supported database: a whole life, what triggers and constraints refuse, and the rotation of keys."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from api_schemas.access import SCOPES
from service.core import edits
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases import reading
from service.core.retries import PendingRetry
from service.settings import ServiceSettings
from service.store import cases, cases_keys
from service.store.cases_keys import CaseKey, generate_data_key, name_digests
from service.store.cases_orm import Case, CaseDecision, CaseTarget
from service.store.database import Database
from service.store.encryption import SecretBox
from service.store.errors import SecretsKeyError
from service.store.orm import Job
from tests.fakes.clock import FakeClock
from tests.fakes.desk import CANARIES, ERASE, Desk
from tests.fakes.model import write_model


@pytest.fixture
def desk(tmp_path: Path, database: Database, clock: FakeClock) -> Desk:
    models = {"tiny": write_model(tmp_path / "models" / "tiny")}
    url = database.engine.url.render_as_string(hide_password=False)
    secrets = {"database_url": url, "secrets_key": Fernet.generate_key().decode()}
    settings = ServiceSettings(data_dir=tmp_path, broker_url="memory://", models=models, **secrets)
    agent, reviewer = (Caller(name, "one", frozenset(SCOPES)) for name in ("agent", "reviewer"))
    return Desk(replace(AppState.from_settings(settings, clock=clock), database=database), clock, agent, reviewer)


def test_whole_life_and_what_the_database_refuses(desk: Desk) -> None:
    case = desk.in_force("eu-dsa", "us-dmca")
    assert case.state == "in_force"
    assert reading.search(desk.app_state, desk.agent, CANARIES[2])[0].id == case.id
    row, target = update(Case).where(Case.id == case.id), update(CaseTarget).where(CaseTarget.case_id == case.id)
    early = {"restore_not_before": desk.clock() + timedelta(1), "revoking_at": desk.clock(), "state": "revoking"}
    for statement in (
        row.values(state="open"),
        row.values(statement_id=None),
        target.values(early),
        target.values(verdict="failed"),
        update(CaseDecision).values(reason="another"),
        text("DELETE FROM case_deadlines"),
        text("UPDATE case_events SET kind = 'other'"),
    ):
        with pytest.raises(IntegrityError), desk.app_state.database.write() as session:
            session.execute(statement)
    case = desk.restore(desk.counter(case), override=True)
    desk.end_edit(case.targets[0].revocation)
    assert desk.wait(case, 1).state == "restored"


def test_retried_edit_takes_the_place_of_the_failed_one(desk: Desk) -> None:
    case = desk.apply(desk.open(), ERASE)
    failed = case.targets[0].edit
    desk.end_edit(failed, fails=True)
    desk.sweep()
    with desk.app_state.database.read() as session:
        job = session.get_one(Job, failed)
    edits.submit(desk.app_state, PendingRetry(desk.agent, None, job, desk.app_state))
    target = desk.read(case.id).targets[0]
    assert (target.state, target.edit != failed) == ("queued", True)
    desk.end_edit(target.edit)
    assert desk.wait(case, 1).state == "in_force"


def test_no_case_is_in_force_while_a_target_is_not(desk: Desk) -> None:
    case = desk.open()
    values = {"state": "in_force", "no_statement_reason": "none"}
    with desk.app_state.database.write() as session:
        for state in ("decided", "applying"):
            session.execute(update(Case).where(Case.id == case.id).values(state=state))
    with pytest.raises(IntegrityError), desk.app_state.database.write() as session:
        session.execute(update(Case).where(Case.id == case.id).values(values))


def test_rotated_keys_open_what_was_sealed(desk: Desk) -> None:
    case = desk.open()
    first, second = desk.app_state.settings.secret_box().keys[0], Fernet.generate_key().decode()
    with desk.app_state.database.write() as session:
        assert cases_keys.reseal_keys(session, SecretBox((second, first))) == 2
    with desk.app_state.database.read() as session:
        row = cases.get(session, "one", case.id)
        assert row
        key = CaseKey.unwrap(row, SecretBox((second,)))
        assert key
        assert CANARIES[2] in key.open(row.sealed_notice)
        assert [found.id for found in cases.find_by_name(session, "one", CANARIES[0], SecretBox((second,)))] == [
            case.id
        ]


def test_keys_of_cases_are_independent() -> None:
    sealed = generate_data_key().seal("x")
    with pytest.raises(SecretsKeyError):
        generate_data_key().open(sealed)
    assert name_digests("a", ["Fox"]) == name_digests("a", ["fox"]) != name_digests("b", ["fox"])
