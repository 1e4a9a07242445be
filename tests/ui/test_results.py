"""The pages about results in a browser: report, previews and ledger, with hostile names and prompts."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from playwright.sync_api import Browser, Page

from tests.ui.conftest import DESKTOP, WatchedPage, take_screenshot, write_readme_screenshot
from tests.ui.page_checks import check_everywhere, overflow, serious_findings
from tests.ui.results_site import HOSTILE, PROMPT, ResultsSite, results_site

OpenPage = Callable[..., Page]
FIRST_VISIT_BYTES = 100_000
"""Of a report without its images: page, styles and scripts."""
PATHS = {
    "compare": "/compare/{edit_id}",
    "compare-changed": "/compare/{edit_id}?order=changed&group=retain",
    "compare-ink": "/compare/{other_edit_id}",
    "report": "/report/{edit_id}",
    "report-list": "/report",
    "try": "/try/{other_edit_id}",
    "try-preview": "/try/{edit_id}/{preview_id}",
    "features": "/features",
    "feature-list": "/features/tiny/object",
    "feature": "/features/tiny/object/172",
    "steer": "/features/tiny/object/steer?latents=7&latents=18",
    "steered-none": "/features/tiny/style/steer/previews",
    "ledgers": "/ledger",
    "ledger": "/ledger/tiny",
    "ledger-revoke": "/ledger/tiny?revoke={edit_id}",
    "ledger-change": "/ledger/tiny?older=1&newer=2",
}


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ResultsSite]:
    with results_site(tmp_path_factory.mktemp("results")) as site:
        yield site


@pytest.fixture(scope="module")
def state(browser: Browser, site: ResultsSite) -> dict[str, object]:
    """The cookies of a session."""
    context = browser.new_context(base_url=site.url)
    page = context.new_page()
    page.goto("/sign-in")
    page.get_by_label("API key").fill(site.key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/jobs")
    found = dict(context.storage_state())
    context.close()
    return found


@pytest.fixture
def open_page(browser: Browser, site: ResultsSite, state: dict[str, object]) -> Iterator[OpenPage]:
    opened: list[WatchedPage] = []

    def open_page(name: str, **options: object) -> Page:
        defaults: dict[str, object] = {"viewport": DESKTOP, "reduced_motion": "reduce", "base_url": site.url}
        context = browser.new_context(**(defaults | {"storage_state": state} | options))  # type: ignore[arg-type]
        context.set_default_timeout(15_000)
        watched = WatchedPage(context)
        opened.append(watched)
        watched.page.goto(PATHS[name].format(**vars(site)))
        return watched.page

    yield open_page
    for watched in opened:
        watched.page.context.close()
        assert watched.errors == []


@pytest.mark.parametrize("name", [name for name in PATHS if name != "compare-ink"])
def test_page_is_right_everywhere(open_page: OpenPage, name: str) -> None:
    check_everywhere(partial(open_page, name), name)


def test_sheets_of_a_report_are_loaded_when_they_are_opened(
    browser: Browser, site: ResultsSite, state: dict[str, object]
) -> None:
    """They are the bulk of a first visit; the page shows a few small pairs at once."""
    context = browser.new_context(base_url=site.url, storage_state=state)  # type: ignore[arg-type]
    page, loaded = context.new_page(), dict[str, int]()
    page.on("requestfinished", lambda one: loaded.update({one.url: sum(one.sizes().values())}))
    page.goto(PATHS["report"].format(**vars(site)), wait_until="networkidle")
    assert sum(size for url, size in loaded.items() if "/images/" not in url) <= FIRST_VISIT_BYTES
    assert page.get_by_label("Images before and after").locator("figure.image-pair").count() == 2
    sheets = page.locator("summary").filter(has_text="Sample sheets")
    with page.expect_request("**/files/figures/samples-target-0.png"):
        sheets.click()
    context.close()


def test_screenshots_of_the_readme_are_written(open_page: OpenPage) -> None:
    """The README shows copies of them, as docs/images/page-compare.png and page-features.png."""
    write_readme_screenshot(open_page("compare-ink"), "page-compare")
    write_readme_screenshot(open_page("feature-list", color_scheme="dark"), "page-features")


def test_names_and_prompts_are_text(open_page: OpenPage) -> None:
    """A hostile name would run a script, which the console or a dialog would show."""
    assert HOSTILE in open_page("report").locator("h1").inner_text()
    assert PROMPT in open_page("try-preview").locator("#preview-title").inner_text()
    assert HOSTILE in open_page("ledger").locator(".timeline").inner_text()
    assert HOSTILE in open_page("feature").locator(".figures").inner_text()


def test_images_are_shown_without_javascript(open_page: OpenPage) -> None:
    page = open_page("try-preview", java_script_enabled=False)
    sizes = [image.bounding_box() for image in page.locator(".image-pair img").all()]
    assert len(sizes) == 4
    assert all(box and box["width"] > 50 for box in sizes)
    assert page.request.get(page.locator(".image-pair img").first.get_attribute("src") or "").ok


def test_pairs_are_compared_by_keyboard(open_page: OpenPage) -> None:
    page = open_page("compare")
    pair = page.locator(".compared").first
    assert page.locator(".compare-range:visible").count() == 0
    page.get_by_label("Slider").check()
    take_screenshot(page, "compare-slider-1280-light")
    slider = pair.get_by_role("slider")
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "70 % after"
    assert "30%" in pair.locator(".after").evaluate("one => getComputedStyle(one).clipPath")
    page.get_by_label("Difference").check()
    assert pair.locator(".after").evaluate("one => getComputedStyle(one).mixBlendMode") == "difference"
    page.get_by_label("Fade").check()
    assert pair.locator(".after").evaluate("one => getComputedStyle(one).opacity") == "0.7"
    page.get_by_role("button", name="Zoom in").click()
    scales = page.locator(".compared img").evaluate_all("all => all.map(one => getComputedStyle(one).transform)")
    assert set(scales) == {"matrix(2, 0, 0, 2, 0, 0)"}


def test_pairs_are_side_by_side_without_javascript(open_page: OpenPage, site: ResultsSite) -> None:
    page = open_page("compare", java_script_enabled=False)
    before, after = (page.locator(f".compared .{side}").first.bounding_box() for side in ("before", "after"))
    assert before
    assert after
    assert before["x"] + before["width"] <= after["x"]
    assert not page.locator("#modes").is_visible()
    link = page.locator(".compared a").first
    image = page.request.get(f"{site.url}{link.get_attribute('href')}")
    assert (image.status, image.headers["content-type"]) == (200, "image/webp")
    assert link.get_attribute("download") == "0000-before.webp"


def test_features_are_searched_and_the_address_is_the_filter(open_page: OpenPage) -> None:
    page = open_page("feature-list")
    cards = page.locator(".feature-card")
    assert cards.count() == 12
    page.get_by_role("link", name="Next").click()
    assert cards.count() == 4
    page.get_by_label("Label or concept").fill("pizza")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**search=pizza**")
    page.get_by_text("with “pizza”").wait_for()
    found = cards.all_inner_texts()
    assert 0 < len(found) < 12
    assert all("pizza" in text for text in found)
    page.reload()
    assert cards.all_inner_texts() == found


def test_heatmaps_cover_their_images_and_can_be_hidden_without_javascript(open_page: OpenPage) -> None:
    page = open_page("feature", java_script_enabled=False)
    strip, heat = page.locator(".strip").first.bounding_box(), page.locator(".heatmap").first.bounding_box()
    assert strip == heat
    assert page.locator(".heatmap").count() == 3
    page.get_by_label("Show where a feature is active").uncheck()
    assert not page.locator(".heatmap").first.is_visible()
    assert page.locator(".strip img").first.is_visible()


def test_moved_slider_queues_a_preview_of_the_steered_group(open_page: OpenPage) -> None:
    page = open_page("steer")
    assert page.locator(".feature-card").count() == 2
    page.get_by_label("Prompt").fill("a fox")
    slider = page.get_by_role("slider", name="Strength")
    slider.press("ArrowRight")
    page.wait_for_url("**/steer/prev_*")
    assert page.locator("output").inner_text() == "× 3.5"
    assert page.locator("#preview-title").inner_text() == "“a fox”, × 3.5"
    assert page.locator("#preview").get_by_role("status").inner_text() == "Waiting for a worker …"
    assert slider.evaluate("one => one === document.activeElement")
    assert "fox" not in page.url
    page.get_by_role("link", name="Earlier previews").click()
    page.get_by_role("table").wait_for()
    take_screenshot(page, "steered-1280-light")
    assert (overflow(page), serious_findings(page)) == (0, [])
    page.get_by_role("link", name="a fox").click()
    assert page.locator("#preview-title").inner_text() == "“a fox”, × 3.5"


def test_form_queues_a_preview_and_waits_for_it(open_page: OpenPage) -> None:
    page = open_page("try")
    page.get_by_label("Prompt").fill("an owl in ink")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_url("**/try/*/prev_*")
    assert page.get_by_role("status").inner_text() == "Waiting for a worker …"
    assert "owl" not in page.url


def test_revocation_is_previewed_and_queued(open_page: OpenPage) -> None:
    page = open_page("ledger-revoke")
    card = page.locator(".preview-card")
    assert HOSTILE in card.inner_text()
    assert "1 removal of other edits stays active" in card.inner_text()
    card.get_by_role("button", name="Revoke").click()
    page.wait_for_url("**/jobs/edit_*")
    assert "Revoke" in page.locator("h1").inner_text()


def test_commands_are_copied(open_page: OpenPage) -> None:
    page = open_page("report", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the commands: diffusers").click()
    page.get_by_role("status").get_by_text("Copied.").wait_for()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied == page.locator("pre").first.inner_text()
    assert "from_pretrained" in copied


def test_trace_is_read_word_by_word_as_a_table(open_page: OpenPage) -> None:
    """By screen reader and keyboard, and without colours and JavaScript."""
    page = open_page("report", java_script_enabled=False)
    table = page.get_by_role("table", name=f"“a picture of {HOSTILE} in the snow”, word by word")
    heads = table.get_by_role("columnheader").all_inner_texts()
    assert [head.split()[-1] for head in heads] == ["Word", *"012345"]
    rows = {row.get_by_role("rowheader").inner_text(): row for row in table.get_by_role("row").all()[1:]}
    cells = rows["padding"].get_by_role("cell")
    assert cells.all_inner_texts() == ["87", "44", "29", "22", "17", "14"]
    colours = cells.evaluate_all("all => all.map(one => getComputedStyle(one).backgroundColor)")
    assert len(set(colours)) == 3
    assert rows["fox"].locator("mark").count() == 1
    region = page.get_by_role("region", name="word by word")
    region.focus()
    assert region.evaluate("one => one === document.activeElement")


def test_features_of_a_report_are_shown_by_their_images(open_page: OpenPage, site: ResultsSite) -> None:
    page = open_page("report", java_script_enabled=False)
    table = page.get_by_role("table", name="Features that changed most")
    known, silent = table.get_by_role("row").all()[1:]
    images = known.get_by_role("img")
    assert images.evaluate_all("all => all.map(one => one.alt)")[0] == "dog face, activation 4.00"
    assert images.count() == 4
    assert all(page.request.get(f"{site.url}{one.get_attribute('src')}").ok for one in images.all())
    assert "active in no image" in silent.inner_text()
    take_screenshot(page, "report-plain-1280-light")
    known.get_by_role("link", name="18").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Feature 18"


def test_report_is_saved_and_never_opened_as_our_page(open_page: OpenPage, site: ResultsSite) -> None:
    page = open_page("report")
    reply = page.request.get(f"{site.url}/report/{site.edit_id}/files/report.html")
    assert reply.headers["content-disposition"].startswith("attachment")
