"""Every page in a browser: console, accessibility, keyboard, phone and desktop, dark and light, without JavaScript."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.fakes.stack import Stack, wait_until
from tests.ui.conftest import DESKTOP, PHONE, NewPage, take_screenshot

AXE = (Path(__file__).parent / "assets" / "axe.min.js").read_text()
RUN_AXE = "() => axe.run(document, {resultTypes: ['violations']})"
SERIOUS = {"serious", "critical"}
FIRST_PAGE_BYTES = 150_000
LAYOUT_SHIFTS = """() => new Promise(resolve => {
  let total = 0
  new PerformanceObserver(list => { for (const entry of list.getEntries()) total += entry.value })
    .observe({type: 'layout-shift', buffered: true})
  setTimeout(() => resolve(total), 300)
})"""
TAB_STOPS = """() => new Set([...document.querySelectorAll('a[href], button, input, select, textarea')]
  .filter(one => one.type !== 'hidden' && (one.type !== 'radio' || one.checked) && !one.disabled && one.offsetParent)
  .map(one => one.outerHTML)).size"""
FOCUS = """() => {
  const one = document.activeElement, style = getComputedStyle(one)
  return [one.outerHTML, one === document.body || style.outlineStyle !== 'none']
}"""


@pytest.fixture(scope="module")
def paths(stack: Stack) -> dict[str, str]:
    """The pages by name, with data for each of them."""
    succeeded = stack.submit().wait()
    failed = stack.submit(refuse="edit")
    wait_until(lambda: stack.client.edits.get(failed.id).finished)
    return {
        "sign-in": "/sign-in",
        "jobs": "/jobs",
        "jobs-empty": "/jobs?status=expired",
        "job": f"/jobs/{succeeded.id}",
        "job-failed": f"/jobs/{failed.id}",
        "remove": "/remove",
        "remove-again": f"/remove?edit={succeeded.id}",
        "remove-many": "/remove/many",
        "models": "/admin/models",
        "webhooks": "/admin/webhooks",
        "keys": "/admin/keys",
        "operations": "/admin/operations",
    }


NAMES = [
    "sign-in",
    "jobs",
    "jobs-empty",
    "job",
    "job-failed",
    "remove",
    "remove-again",
    "remove-many",
    "models",
    "webhooks",
    "keys",
    "operations",
]


def serious_findings(page: Page) -> list[str]:
    """Return the serious and critical findings of axe-core."""
    page.evaluate(AXE)
    found = page.evaluate(RUN_AXE)["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in SERIOUS]


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the window."""
    return int(page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def timeless(text: str) -> str:
    """Return the text without times of day, which go on between two visits."""
    return re.sub(r"\d\d:\d\d(:\d\d)?", "", text)


@pytest.mark.parametrize("name", NAMES)
def test_page_is_accessible_in_every_size_and_scheme(new_page: NewPage, paths: dict[str, str], name: str) -> None:
    for viewport, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
        page = new_page(viewport=viewport, color_scheme=scheme).page
        page.goto(paths[name])
        take_screenshot(page, f"{name}-{viewport['width']}-{scheme}")
        assert overflow(page) <= 0, viewport
        assert serious_findings(page) == [], (viewport, scheme)


@pytest.mark.parametrize("name", NAMES)
def test_page_is_whole_without_javascript(new_page: NewPage, paths: dict[str, str], name: str) -> None:
    with_script, without = new_page().page, new_page(java_script_enabled=False).page
    with_script.goto(paths[name])
    without.goto(paths[name])
    shown, expected = (set(timeless(one.locator("main").inner_text()).splitlines()) for one in (without, with_script))
    assert shown >= expected  # and the buttons of forms that a script sends


@pytest.mark.parametrize("name", NAMES)
def test_every_control_is_reached_by_tab_and_shows_its_focus(
    new_page: NewPage, paths: dict[str, str], name: str
) -> None:
    page = new_page().page
    page.goto(paths[name])
    expected, reached = page.evaluate(TAB_STOPS), set()
    for _ in range(expected + 1):
        page.keyboard.press("Tab")
        element, is_visible = page.evaluate(FOCUS)
        assert is_visible, element
        reached.add(element)
    assert len(reached) >= expected


def test_first_page_is_small_and_does_not_shift(new_page: NewPage, paths: dict[str, str]) -> None:
    watched = new_page()
    sizes: list[int] = []
    watched.page.on("response", lambda response: sizes.append(sum(response.request.sizes().values())))
    watched.page.goto("/jobs", wait_until="networkidle")
    assert 20_000 < sum(sizes) <= FIRST_PAGE_BYTES
    assert watched.page.evaluate(LAYOUT_SHIFTS) == 0
