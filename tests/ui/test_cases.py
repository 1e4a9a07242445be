"""What the persons of a takedown desk do in a browser: from a notice to a statement, and to a restoration."""

import pytest
from playwright.sync_api import Page

from tests.fakes.desk import NOTICE
from tests.fakes.stack import Stack, wait_until
from tests.ui.conftest import NewPage


def enter_notice(page: Page, concept: str) -> None:
    """Open a case with the form."""
    page.goto("/cases/new")
    page.locator("input[name=basis][value=us-dmca]").check()
    page.locator("input[name=model][value=tiny]").check()
    page.get_by_label("Name", exact=True).fill(NOTICE["notifier"]["name"])
    page.get_by_label("E-mail address").fill(NOTICE["notifier"]["email"])
    page.get_by_label("Signature").fill(NOTICE["signature"])
    page.get_by_label("Concept").fill(concept)
    page.get_by_label("Locations").fill("https://hub.example/tiny")
    for kind in ("good faith", "accuracy", "under penalty of perjury"):
        page.get_by_label(kind).check()
    page.get_by_role("button", name="Open the case").click()
    page.wait_for_url("**/cases/case_*")


def decide(page: Page, action: str) -> None:
    """Decide the case that is shown, with a template."""
    page.get_by_label("Reason").select_option("protected-work")
    page.get_by_role("button", name="Choose").click()
    page.get_by_label("Action").select_option(action)
    page.get_by_label("Work count").fill("1")
    page.get_by_label("Received on").fill("2026-05-01")
    page.get_by_role("button", name="Decide", exact=True).click()


@pytest.mark.parametrize("script", [True, False])
def test_from_notice_to_statement_and_restoration(new_page: NewPage, stack: Stack, script: bool) -> None:
    page = new_page(java_script_enabled=script).page
    enter_notice(page, f"quagga {script}")
    case_id = page.url.rpartition("/")[2]
    page.get_by_role("button", name="Claim").click()
    decide(page, "erase")
    page.get_by_role("button", name="Undo").click()
    decide(page, "erase")
    wait_until(lambda: stack.client.cases.get(case_id).state == "in_force", 90)
    if not script:  # otherwise the page follows what happens
        page.reload()
    page.get_by_role("link", name="Statement of reasons").click()
    assert "the concept was removed" in page.locator("main").inner_text()
    page.get_by_role("link", name="Back to the case").click()
    page.locator("summary", has_text="Add a counter-notice").click()
    page.locator("#counter_notice_explanation").fill("It is a parody.")
    page.get_by_role("button", name="Add a counter-notice").click()
    page.locator("summary", has_text="Restore the models").click()
    page.locator("#restore_reason").fill("The notifier has retracted.")
    page.get_by_label("before the time that a counter-notice sets").check()
    page.get_by_role("button", name="Restore the models").click()
    wait_until(lambda: stack.client.cases.get(case_id).state == "restored", 90)


def test_keyboard_keys_can_be_switched_off(new_page: NewPage) -> None:
    page = new_page().page
    for concept in ("numbat", "dugong"):
        enter_notice(page, concept)
    page.goto("/cases")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.matches('[data-row]')")
    page.keyboard.press("o")
    page.wait_for_url("**/cases/case_*")
    page.go_back()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "state"
    page.locator("#keys summary").click()
    page.get_by_label("Keys are on").uncheck()
    page.reload()
    page.keyboard.press("j")
    assert not page.evaluate("document.activeElement.matches('[data-row]')")
