"""Every page of the service in a browser: what is true of all of them, and the size of the first one."""

import pytest
from playwright.sync_api import Page

from api_schemas.cases_requests import CaseRequest
from tests.fakes.desk import NOTICE
from tests.fakes.stack import Stack, wait_until
from tests.ui.conftest import NewPage
from tests.ui.page_checks import check_everywhere

FIRST_PAGE_BYTES = 150_000
LAYOUT_SHIFTS = """() => new Promise(resolve => {
  let total = 0
  new PerformanceObserver(list => { for (const entry of list.getEntries()) total += entry.value })
    .observe({type: 'layout-shift', buffered: true})
  setTimeout(() => resolve(total), 300)
})"""
PATHS = {
    "sign-in": "/sign-in",
    "jobs": "/jobs",
    "jobs-empty": "/jobs?status=expired",
    "job": "/jobs/{succeeded}",
    "job-failed": "/jobs/{failed}",
    "remove": "/remove",
    "remove-again": "/remove?edit={succeeded}",
    "remove-many": "/remove/many",
    "compare-list": "/compare",
    "cases": "/cases",
    "case-new": "/cases/new",
    "case": "/cases/{case}?template=protected-work",
    "case-notice": "/cases/{case}/notice",
    "fleets": "/fleets",
    "fleet-new": "/fleets/new",
    "models": "/admin/models",
    "webhooks": "/admin/webhooks",
    "keys": "/admin/keys",
    "operations": "/admin/operations",
}
"""The pages by name. Those about results are in `test_results`."""


@pytest.fixture(scope="module")
def ids(stack: Stack) -> dict[str, str]:
    """Data for each of the pages."""
    succeeded, failed = stack.submit(), stack.submit(refuse="edit")
    case = stack.client.cases.create(
        CaseRequest.model_validate({"bases": ["us-dmca"], "models": ["tiny"], "notice": NOTICE})
    )
    wait_until(lambda: all(stack.client.edits.get(job.id).finished for job in (succeeded, failed)), 90)
    return {"succeeded": succeeded.id, "failed": failed.id, "case": case.id}


@pytest.mark.parametrize("name", PATHS)
def test_page_is_right_everywhere(new_page: NewPage, ids: dict[str, str], name: str) -> None:
    def open_page(**options: object) -> Page:
        page = new_page(**options).page
        page.goto(PATHS[name].format(**ids))
        return page

    check_everywhere(open_page, name)


def test_first_page_is_small_and_does_not_shift(new_page: NewPage, ids: dict[str, str]) -> None:
    watched = new_page()
    sizes: list[int] = []
    watched.page.on("response", lambda response: sizes.append(sum(response.request.sizes().values())))
    watched.page.goto("/jobs", wait_until="networkidle")
    assert 20_000 < sum(sizes) <= FIRST_PAGE_BYTES
    assert watched.page.evaluate(LAYOUT_SHIFTS) == 0
