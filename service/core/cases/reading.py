"""Read cases: lists, searches by sealed names, and the sealed text itself, whose reading is an event."""

from api_schemas.cases import Case, PersonalData
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases import serializers
from service.core.cases.change import case_not_found, open_change
from service.store import audit, cases
from service.store.cases_orm import Case as CaseRow


def read(app_state: AppState, caller: Caller, case_id: str) -> Case:
    """Return a case of the caller's tenant. Raises `NotFound`."""
    with app_state.database.read() as session:
        return serializers.case(_find(cases.get(session, caller.tenant, case_id), case_id), app_state.clock())


def _find(case: CaseRow | None, case_id: str) -> CaseRow:
    if case is None:
        raise case_not_found(case_id)
    return case


def read_personal_data(app_state: AppState, caller: Caller, case_id: str) -> PersonalData:
    """Return the sealed text of a case and record who read it. Raises `NotFound`, `CaseErased`."""
    with app_state.database.write() as session:
        change = open_change(app_state, session, caller, case_id)
        found = serializers.personal_data(change)
        cases.append_event(session, change.case, caller.key_id, "read", change.now)
        audit.record(session, caller.tenant, caller.key_id, "case.read", case_id, now=change.now)
    return found


def search(app_state: AppState, caller: Caller, name: str) -> list[Case]:
    """Return the cases whose notice has a name: concept, alias or notifier."""
    with app_state.database.read() as session:
        rows = cases.find_by_name(session, caller.tenant, name, app_state.settings.secret_box())
        return [serializers.case(row, app_state.clock()) for row in rows]
