"""What people do: sign in, follow a job to its end, cancel, and what other sites can't make them do."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.stack import Stack, wait_until
from tests.ui.conftest import PHONE, NewPage, sign_in, take_screenshot
from tests.ui.page_checks import overflow, serious_findings

DECODE = "all => Promise.all(all.map(one => one.decode().then(() => one.naturalWidth)))"
"""The widths of images, once they are there."""


def test_sign_in_and_out(new_page: NewPage, stack: Stack) -> None:
    page = new_page(signed_in=False).page
    page.goto("/")
    assert page.url.endswith("/sign-in")
    sign_in(page, stack)
    page.get_by_role("button", name="Sign out").click()
    page.goto("/jobs")
    assert "/sign-in" in page.url


def test_running_job_is_followed_to_its_end(new_page: NewPage, stack: Stack) -> None:
    job = stack.submit(slow="2")
    page = new_page().page
    page.goto(f"/jobs/{job.id}")
    spoken = page.get_by_role("status")
    page.locator(".rail .current", has_text="Solve the edit").wait_for(timeout=60_000)  # the worker may still start
    assert page.locator(".badge.running").count() == 1
    assert 0 < float(page.get_by_role("progressbar").get_attribute("value") or 0) < 1
    assert "Solve the edit" in (spoken.text_content() or "")
    take_screenshot(page, "job-running")
    page.locator(".badge.passed").wait_for()
    assert page.locator(".rail .done").count() == 4
    assert spoken.text_content() == "Finished."
    assert page.get_by_role("progressbar").count() == 0


def test_images_are_shown_while_they_are_generated(new_page: NewPage, stack: Stack) -> None:
    job = stack.submit(slow="8", slow_in="validate")
    page, plain = new_page().page, new_page(java_script_enabled=False, viewport=PHONE, color_scheme="dark").page
    page.goto(f"/jobs/{job.id}")
    images = page.get_by_label("Newest images").get_by_role("img")
    images.first.wait_for(timeout=60_000)
    first = images.first.get_attribute("src")
    assert images.first.get_attribute("alt") == "Before the edit, seed 0: a photo of fox"
    page.wait_for_function("first => document.querySelector('#samples img').getAttribute('src') !== first", arg=first)
    assert set(images.evaluate_all(DECODE)) == {64}
    assert page.locator(".pair-images").evaluate_all("all => all.every(one => one.scrollWidth <= one.clientWidth)")
    assert serious_findings(page) == []
    take_screenshot(page, "job-images-1280-light")
    plain.goto(f"/jobs/{job.id}")
    shown = plain.get_by_label("Newest images").get_by_role("img")
    assert shown.count() > 1
    assert overflow(plain) <= 0
    take_screenshot(plain, "job-images-390-dark")
    newest = stack.client.edits.samples(job.id)[0]
    assert newest.prompt == "a photo of fox"
    assert stack.client.edits.image(newest.before).startswith(b"RIFF")
    job.cancel()
    page.locator(".badge.canceled").wait_for()
    page.locator("#samples").wait_for(state="detached")  # the badge changes with the event, the page just after it
    assert stack.client.edits.samples(job.id) == []


def test_job_is_canceled(new_page: NewPage, stack: Stack) -> None:
    job = stack.submit(slow="20")
    page = new_page().page
    page.goto(f"/jobs/{job.id}")
    page.get_by_role("button", name="Cancel this job").click()
    page.locator(".badge.canceled").wait_for()


def test_removal_is_previewed_submitted_and_followed(new_page: NewPage) -> None:
    page = new_page().page
    page.goto("/remove")
    page.get_by_label("Concept", exact=True).fill("fox")
    page.get_by_label("Other names").fill("vixen")
    page.get_by_label("Preserve").focus()
    preview = page.get_by_label("Preview", exact=True)
    preview.get_by_label("vixen alias").wait_for()
    preview.get_by_label("foxs plural").uncheck()
    page.locator("#preview:not(.htmx-request)").get_by_label("foxs excluded").wait_for()
    preview.locator("summary").click()
    preview.get_by_label("a photo of vixen").uncheck()
    page.locator("#preview:not(.htmx-request)").get_by_role("group", name="Prompts that stay as they are").wait_for()
    assert preview.locator("meter").first.get_attribute("value") == "0.62"
    take_screenshot(page, "remove-previewed")
    page.get_by_role("button", name="Remove", exact=True).click()
    page.locator(".badge.passed").wait_for()
    page.get_by_role("link", name="Again with changes").click()
    assert page.get_by_label("Other names").input_value() == "vixen"
    assert page.get_by_label("foxs excluded").is_checked() is False
    assert page.get_by_label("a photo of vixen").is_checked() is False


def test_list_is_checked_row_by_row_before_it_is_queued(new_page: NewPage) -> None:
    page = new_page().page
    page.goto("/remove/many")
    page.get_by_label("Or paste rows").fill("concept,replacement\nfox,dog face\nfox,cat\nowl,owl\n")
    page.get_by_role("button", name="Check the rows").click()
    page.get_by_text("1 of 3 rows are valid").wait_for()
    take_screenshot(page, "remove-many-checked")
    page.get_by_role("button", name="Remove 1 concept").click()
    page.locator(".badge.succeeded").wait_for()


@pytest.fixture
def other_site(tmp_path: Path) -> Iterator[str]:
    """A site of somebody else, on another host name."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()


def test_other_site_can_neither_post_nor_frame(
    new_page: NewPage, stack: Stack, other_site: str, tmp_path: Path
) -> None:
    (tmp_path / "post.html").write_text(
        f'<form method="post" action="{stack.url}/sign-out"><button>Win</button></form>'
    )
    (tmp_path / "frame.html").write_text(f'<iframe src="{stack.url}/jobs"></iframe>')
    page = new_page(allow_errors=True).page
    page.goto(f"{other_site}/post.html")
    page.get_by_role("button").click()
    page.get_by_role("heading", name="The request came from another site").wait_for()
    page.goto(f"{other_site}/frame.html")
    wait_until(lambda: page.wait_for_timeout(50) or page.frames[1].url.startswith("chrome-error:"))  # no event says so
    page.goto(f"{stack.url}/jobs")
    page.get_by_role("heading", name="Jobs").wait_for()


def test_link_from_another_site_opens_the_page_signed_in(
    new_page: NewPage, stack: Stack, other_site: str, tmp_path: Path
) -> None:
    (tmp_path / "link.html").write_text(f'<a href="{stack.url}/jobs?status=failed">a job</a>')
    page = new_page(allow_errors=True).page  # the other site has no icon
    page.goto(f"{other_site}/link.html")
    page.get_by_role("link").click()
    page.get_by_role("heading", name="Jobs").wait_for()
