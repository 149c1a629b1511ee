"""A real browser on the page of a studio, and what a user does there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conftest import PATIENCE, wait_for

Page = Any  # of playwright, whose types need not be there
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@contextmanager
def started_browser() -> Iterator[Any]:
    """Yield Chromium, playwright's Browser; skips the test where either is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium is installed")
    options = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=options, timeout=1000 * PATIENCE
        )
        yield browser
        browser.close()


@contextmanager
def browser_page(url: str, may_fail: str | None = None, **context: Any) -> Iterator[Page]:
    """Open a studio in a browser of its own and yield the page, as `page_in` does."""
    with started_browser() as browser, page_in(browser, url, may_fail, **context) as page:
        yield page


@contextmanager
def page_in(browser: Any, url: str, may_fail: str | None = None, **context: Any) -> Iterator[Page]:
    """Open a studio and yield the page once a frame is drawn.

    Fails for a console message or a request of another host; requests that end in `may_fail` may
    fail. `context` is playwright's, such as the `viewport`.
    """
    with browser.new_context(**context) as opened:
        noise: list[str] = []
        page = opened.new_page()
        page.set_default_timeout(1000 * PATIENCE)

        def note(url: str, words: str) -> None:
            if may_fail is None or not url.endswith(may_fail):
                noise.append(words)

        page.on("console", lambda each: note(each.location["url"], f"console: {each.text}"))
        page.on("pageerror", lambda error: noise.append(f"error: {error}"))
        page.on("requestfailed", lambda each: note(each.url, f"failed: {each.url}"))
        origin = url.partition("/?")[0]
        hosts = (f"{origin}/", f"blob:{origin}/", origin.replace("http:", "ws:"))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        wait_for(lambda: page.get_attribute("#canvas", "data-frame") == "0")
        page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        yield page
        heard = tuple(noise)  # closing cancels the requests that are under way
        assert heard == (), heard
        assert [each for each in asked if not each.startswith(hosts)] == []


def text(page: Page, selector: str) -> str:
    return str(page.evaluate("selector => document.querySelector(selector).textContent", selector))


def state(page: Page) -> dict[str, Any]:
    found = page.evaluate("fetch('state').then(answer => answer.json())")
    assert isinstance(found, dict)
    return found


def is_idle(page: Page) -> bool:
    """Return whether nothing runs or is on its way to the stage, and the page knows."""
    busy = page.get_attribute("#canvas", "aria-busy") == "true"
    return state(page)["run"] is None and bool(page.is_enabled("#finish")) and not busy


def on_stage(page: Page, x: float, y: float) -> tuple[float, float]:
    """Return where a point of the picture is in the window, as long as all of it is shown."""
    width, height = map(int, text(page, "#title").rpartition(" ")[2].split("\u00d7"))
    box = page.locator("#canvas").bounding_box()
    wide, high = box["width"] - 2 * 12, box["height"] - 54 - 50  # within the margins
    scale = min(wide / width, high / height)
    left = box["x"] + 12 + (wide - width * scale) / 2
    top = box["y"] + 54 + (high - height * scale) / 2
    return left + x * scale, top + y * scale


def click_on(page: Page, *points: tuple[float, float]) -> None:
    """Click on points of the picture, one after another."""
    for x, y in points:
        page.mouse.click(*on_stage(page, x, y))


def drag(page: Page, *points: tuple[float, float]) -> None:
    """Press the button at a point of the picture, and release it at the last one."""
    page.mouse.move(*on_stage(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*on_stage(page, *point), steps=4)
    page.mouse.up()


def go_to(page: Page, frame: int) -> None:
    page.fill("#frame", str(frame))
    page.keyboard.press("Enter")
    wait_for(lambda: page.get_attribute("#canvas", "data-frame") == str(frame))
