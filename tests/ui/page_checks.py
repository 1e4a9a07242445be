"""What is true of every page: no console error, accessible, keyboard, phone and desktop, dark and light, without JavaScript."""

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page

from tests.ui.conftest import DESKTOP, PHONE, take_screenshot

MAX_STOPS_OF_A_CONTROL = 7
"""A field for date and time has one for each part, and one for its button."""
OpenPage = Callable[..., Page]
"""Opens the page with options of `Browser.new_context`. Whoever opens it checks its console."""
AXE = (Path(__file__).parent / "assets" / "axe.min.js").read_text()
RUN_AXE = "() => axe.run(document, {resultTypes: ['violations']})"
SERIOUS = {"serious", "critical"}
TAB_STOPS = """() => new Set([...document.querySelectorAll('a[href], button, input, select, textarea, summary')]
  .filter(one => one.type !== 'hidden' && (one.type !== 'radio' || one.checked) && !one.disabled && one.checkVisibility())
  .map(one => one.outerHTML)).size"""
FOCUS = """() => {
  const one = document.activeElement, style = getComputedStyle(one)
  return [one.outerHTML, one === document.body || style.outlineStyle !== 'none']
}"""
BY_SCRIPTS = "() => [...document.querySelectorAll('main [data-script]')].map(one => one.innerText)"
"""The text of what a script adds."""
FOR_SCRIPTS = "() => [...document.querySelectorAll('main [hidden]')].map(one => one.textContent).join(' ')"
"""The text of what a script reveals, such as the buttons of its own controls."""


def check_everywhere(open_page: OpenPage, name: str) -> None:
    """Check a page in both sizes and schemes, with the keyboard alone, and without JavaScript. Writes screenshots."""
    desktop = open_page(viewport=DESKTOP, color_scheme="light")
    phone = open_page(viewport=PHONE, color_scheme="dark")
    for page, size in ((desktop, "1280-light"), (phone, "390-dark")):
        take_screenshot(page, f"{name}-{size}")
        assert overflow(page) <= 0, size
        assert serious_findings(page) == [], size
    shown = _lines(desktop.locator("main").inner_text()) - set(desktop.evaluate(BY_SCRIPTS))
    check_keyboard(desktop)
    plain = open_page(java_script_enabled=False)
    allowed = _lines(plain.locator("main").inner_text())
    revealed = " ".join(str(plain.evaluate(FOR_SCRIPTS)).split())
    assert [line for line in sorted(shown - allowed) if line not in revealed] == []


def serious_findings(page: Page) -> list[str]:
    """Return the serious and critical findings of axe-core."""
    page.evaluate(AXE)
    found = page.evaluate(RUN_AXE)["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in SERIOUS]


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than the window."""
    return int(page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def check_keyboard(page: Page) -> None:
    """Check that Tab reaches every control, and that each shows that it has the focus."""
    expected, reached = page.evaluate(TAB_STOPS), set()
    for _ in range(expected * MAX_STOPS_OF_A_CONTROL):
        page.keyboard.press("Tab")
        element, is_visible = page.evaluate(FOCUS)
        assert is_visible, element
        reached.add(element)
        if len(reached) > expected:  # the last one is the page itself
            break
    assert len(reached) >= expected


def _lines(text: str) -> set[str]:
    """Return the lines without times of day, which go on between two visits."""
    return {" ".join(re.sub(r"\d\d:\d\d(:\d\d)?", "", line).split()) for line in text.splitlines()}
