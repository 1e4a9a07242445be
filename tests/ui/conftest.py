"""One service and one browser for all tests of the pages. They are left out where there is no Chromium."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.fakes.stack import Stack, running_stack

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
MAX_README_BYTES = 150_000
NewPage = Callable[..., "WatchedPage"]


INSTALL_CHROMIUM = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "-qq", "chromium")
"""Tests of several files install it at once: all but one wait for the lock."""


def find_chromium() -> str | None:
    """Return the path of Debian's Chromium; root installs it if it is missing and apt works."""
    if shutil.which("chromium") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(INSTALL_CHROMIUM, capture_output=True, check=False)
    return shutil.which("chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for one file: Playwright runs an event loop while it is open, and tests of other files run their own."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium: install it with `apt-get install chromium` to test the pages in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def stack(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service; not started without a browser."""
    with running_stack(tmp_path_factory.mktemp("ui") / "data") as stack:
        yield stack


@pytest.fixture(scope="module")
def signed_in_state(browser: Browser, stack: Stack) -> dict[str, object]:
    """The cookies of a session, so that each test need not sign in."""
    context = browser.new_context(base_url=stack.url)
    page = context.new_page()
    sign_in(page, stack)
    state = context.storage_state()
    context.close()
    return dict(state)


class WatchedPage:
    """A page of a browser whose console errors fail the test."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, kind: str, text: str) -> None:
        if kind == "error":
            self.errors.append(text)


@pytest.fixture
def new_page(browser: Browser, stack: Stack, signed_in_state: dict[str, object]) -> Iterator[NewPage]:
    """Return a page that is signed in, with any options of `Browser.new_context`."""
    opened: list[tuple[BrowserContext, WatchedPage, bool]] = []

    def open_page(*, signed_in: bool = True, allow_errors: bool = False, **options: object) -> WatchedPage:
        defaults: dict[str, object] = {"viewport": DESKTOP, "reduced_motion": "reduce", "base_url": stack.url}
        state = {"storage_state": signed_in_state} if signed_in else {}
        context = browser.new_context(**(defaults | state | options))  # type: ignore[arg-type]
        context.set_default_timeout(15_000)
        watched = WatchedPage(context)
        opened.append((context, watched, allow_errors))
        return watched

    yield open_page
    for context, watched, allow_errors in opened:
        context.close()
        assert allow_errors or watched.errors == []


def take_screenshot(page: Page, name: str) -> None:
    """Write a screenshot of the whole page to build/screenshots."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True, animations="disabled")


def write_readme_screenshot(page: Page, name: str) -> None:
    """Write a screenshot of the window to build/screenshots, with few colours: it is part of the repository."""
    path = SCREENSHOTS / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path, animations="disabled")
    Image.open(path).quantize(256).save(path, optimize=True)
    assert path.stat().st_size < MAX_README_BYTES


def sign_in(page: Page, stack: Stack) -> None:
    """Sign in with the stack's API key."""
    page.goto("/sign-in")
    page.get_by_label("API key").fill(stack.authorization["Authorization"].removeprefix("Bearer "))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/jobs")
