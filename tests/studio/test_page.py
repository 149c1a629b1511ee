"""The page in a real browser: what a new user does with it, from the first click to the masks."""

import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import DARK, HEIGHT, ORANGE, PATIENCE, WIDTH, ColourNetwork, wait_for
from tests.segment.test_cuts import BACK, CUT, END, film_with_cuts
from tests.studio.browser import (
    Page,
    click_on,
    drag,
    go_to,
    is_idle,
    on_stage,
    page_in,
    started_browser,
    text,
)
from tests.studio.conftest import masks_in
from vostool.media.labels import LabelMap
from vostool.media.writer import VideoWriter
from vostool.studio.launch import Studio, opened_studio
from vostool.studio.session import Session

pytestmark = pytest.mark.browser

LENGTH = 40  # frames
SIDE = 16


def truth(index: int) -> LabelMap:
    """Return where the square of a long film is, which goes to the right and slowly down."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[8 + index // 4 : 8 + index // 4 + SIDE, 4 + index : 4 + index + SIDE] = 1
    return labels


class Holdable(ColourNetwork):
    """Calls something before each frame, which may wait."""

    before: Callable[[], object] = staticmethod(lambda: None)

    def encode(self, image: Any) -> Any:
        self.before()
        return super().encode(image)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, width=WIDTH, height=HEIGHT, rate=Fraction(25)) as writer:
        for index in range(LENGTH):
            rgb = np.full((HEIGHT, WIDTH, 3), DARK, np.uint8)
            rgb[truth(index) > 0] = ORANGE
            writer.write(rgb, Fraction(index, 25))
    return path


@pytest.fixture
def studio(
    clip: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Studio]:
    """A studio that serves the clip, with a network that goes by colour."""
    monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: Holdable())
    changes = {"weights": str(weights), "device": "cpu", "size": HEIGHT}
    with opened_studio(clip, tmp_path / "out", changes) as studio:
        wait_for(lambda: studio.session.frames.ended)  # so that every frame can be gone to
        thread = threading.Thread(target=studio.run)
        thread.start()
        yield studio
        studio.server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, in which each page has a profile of its own."""
    with started_browser() as browser:
        yield browser


@pytest.fixture
def going_on(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold the network a few frames after the 6th, until the event is set."""
    going_on = threading.Event()
    hold = lambda: studio.session.valid < 6 or going_on.wait(PATIENCE)  # noqa: E731
    monkeypatch.setattr(Holdable, "before", staticmethod(hold))
    return going_on


def stop_by_key(page: Page, session: Session, going_on: threading.Event) -> None:
    """Stop following, which is held, by the keyboard."""
    wait_for(lambda: session.valid >= 6)
    # the key is that of the button as long as this has the focus
    focus = "document.activeElement.id"
    wait_for(lambda: page.is_visible("#stop") and page.evaluate(focus) != "follow")
    page.keyboard.press(" ")
    wait_for(session.runner._stop.is_set)
    going_on.set()
    wait_for(lambda: is_idle(page))
    assert 6 <= session.valid < LENGTH


def click_around(page: Page, labels: LabelMap, corners: int = 4) -> None:
    """Click on the middles of the corner pixels of a square."""
    rows, columns = (each + 0.5 for each in np.nonzero(labels))
    left, right, top, bottom = columns.min(), columns.max(), rows.min(), rows.max()
    around = [(left, top), (right, top), (right, bottom), (left, bottom)]
    click_on(page, *around[:corners])


def overlap(one: LabelMap, other: LabelMap) -> float:
    return float(np.sum((one > 0) & (other > 0)) / np.sum((one > 0) | (other > 0)))


def test_a_new_user_draws_undoes_follows_stops_repairs_goes_on_and_saves(
    browser: Any, studio: Studio, going_on: threading.Event
) -> None:
    session = studio.session
    with page_in(browser, studio.url) as page:
        click_around(page, truth(0))
        page.keyboard.press("Enter")
        wait_for(lambda: session.painted.frames == [0])
        wait_for(lambda: page.is_enabled("#follow"))
        page.keyboard.press("Control+z")
        wait_for(lambda: session.painted.frames == [])
        wait_for(lambda: page.is_disabled("#follow"))
        click_around(page, truth(0))
        page.mouse.click(*on_stage(page, 4.5, 8.5))  # the first corner again
        wait_for(lambda: page.is_enabled("#follow"))
        assert np.array_equal(session.labels(0), truth(0))

        page.click("#follow")
        stop_by_key(page, session, going_on)
        wait_for(lambda: text(page, "#follow span") == "Go on")
        # the stage shows the frame followed last
        assert page.input_value("#frame") == str(session.valid - 1)

        go_to(page, 5)
        page.keyboard.press("b")
        page.fill("#brush-size", "4")
        rows, columns = np.nonzero(truth(5))
        stray = [(columns.max() + step, rows.mean()) for step in (4.0, 8.0)]
        drag(page, *stray)
        wait_for(lambda: session.painted.frames == [0, 5])
        assert session.valid == 5
        wait_for(lambda: "before the repair" in text(page, "#status"))
        steps = len(session.painted.done)
        page.keyboard.press("e")  # it went wrong
        drag(page, *stray)
        wait_for(lambda: len(session.painted.done) == steps + 1)
        assert np.array_equal(session.labels(5), truth(5))
        wait_for(lambda: page.is_enabled("#follow"))
        page.click("#follow")
        wait_for(lambda: session.is_complete and is_idle(page))

        page.check("input[value=cutouts]")
        page.click("#save")
        wait_for(lambda: len(session.saved) == 3)
        wait_for(lambda: "cutouts" in text(page, "#saved"))
        page.click("#finish")
        wait_for(lambda: "Finished" in text(page, "#over-title"))
    masks = masks_in(session.folder)
    assert len(masks) == LENGTH
    assert min(overlap(mask, truth(index)) for index, mask in enumerate(masks)) > 0.9
    assert (session.folder / "overlay.mp4").exists()
    assert len(list((session.folder / "cutouts").iterdir())) == LENGTH


def test_what_the_tools_paint_is_exact(browser: Any, studio: Studio) -> None:
    session = studio.session
    with page_in(browser, studio.url) as page:
        page.keyboard.press("g")
        drag(page, (1, 5), (26, 27))
        wait_for(lambda: session.painted.frames == [0])
        assert overlap(session.labels(0), truth(0)) > 0.9
        wait_for(lambda: is_idle(page) and page.is_enabled("#snap"))
        before = session.runner.revision
        page.keyboard.press("n")
        wait_for(lambda: session.runner.revision == before + 1)
        wait_for(lambda: is_idle(page))
        assert overlap(session.labels(0), truth(0)) > 0.9

        page.keyboard.press("e")
        page.fill("#brush-size", "200")
        drag(page, (0, 0), (60, 40))
        wait_for(lambda: not session.labels(0).any())
        page.click("#add-object")
        wait_for(lambda: text(page, "#objects li.chosen .swatch") == "2")
        page.keyboard.press("b")
        page.fill("#brush-size", "6")
        drag(page, (30, 20), (40, 20))
        wait_for(lambda: session.labels(0).any())
        labels = session.labels(0)
        assert set(np.unique(labels)) == {0, 2}
        y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
        away = np.hypot(x - np.clip(x, 30, 40), y - 20)
        assert np.sum((labels == 2) != (away <= 3)) <= 6  # half a screen pixel off, at most


def test_what_is_on_its_way_is_neither_painted_over_nor_a_reason_to_turn_back(
    browser: Any, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, fill, drawn = studio.session, studio.session.fill, threading.Event()

    def fill_late(*shape: Any) -> Any:
        drawn.wait(PATIENCE)
        return fill(*shape)

    monkeypatch.setattr(session, "fill", fill_late)
    with page_in(browser, studio.url) as page:
        click_around(page, truth(0))
        page.keyboard.press("Enter")
        page.keyboard.press("b")
        drag(page, (40, 8), (50, 8))  # of labels without the polygon
        page.keyboard.press("ArrowRight")
        drawn.set()
        wait_for(lambda: session.painted.frames == [0])
        wait_for(lambda: page.is_enabled("#undo"))
        assert np.array_equal(session.labels(0), truth(0))
        assert page.input_value("#frame") == "1"
        page.keyboard.press("Control+z")  # but this goes where it changes something
        wait_for(lambda: page.input_value("#frame") == "0")


def test_a_user_follows_backward_and_looks_at_doubtful_frames(
    browser: Any, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vostool.defaults.CHECK_EVERY", 4)
    monkeypatch.setattr("vostool.studio.results.LOW", 2)  # so that all that are checked are
    with page_in(browser, studio.url) as page:
        go_to(page, 6)
        click_around(page, truth(6))
        page.keyboard.press("Enter")
        wait_for(lambda: "Frames 0 to 5 stay empty" in text(page, "#status"))
        page.click("#backward")  # a state that is on its way may show it as it was
        wait_for(lambda: studio.session.backward and page.is_enabled("#follow"))
        page.click("#follow")
        wait_for(lambda: studio.session.is_complete and is_idle(page))
        assert overlap(masks_in(studio.session.folder)[0], truth(0)) > 0.9
        wait_for(lambda: "of 10 doubtful frames" in text(page, "#next-doubt"))
        page.keyboard.press("Home")
        page.keyboard.press("d")
        wait_for(lambda: page.input_value("#frame") == "4")
        wait_for(lambda: text(page, "#frame-state").startswith("Doubtful: Object 1 (mean prob"))
        assert "doubtful" in page.get_attribute("#slider", "aria-valuetext")


class TestAVideoOfTwoScenes:
    @pytest.fixture
    def clip(self, tmp_path: Path) -> Path:
        return film_with_cuts(tmp_path / "clip.mp4").path

    def test_shows_its_cuts_on_the_timeline_and_leads_from_one_to_the_next(
        self, browser: Any, studio: Studio
    ) -> None:
        with page_in(browser, studio.url) as page:
            wait_for(lambda: text(page, "#next-cut span") == "Next of 2 scene cuts")
            page.keyboard.press("c")
            wait_for(lambda: page.input_value("#frame") == str(CUT))
            wait_for(lambda: text(page, "#frame-state").startswith("A scene begins here. "))
            words = page.get_attribute("#slider", "aria-valuetext")
            assert words == f"frame {CUT}, first of a scene"
            page.click("#next-cut")
            wait_for(lambda: page.input_value("#frame") == str(BACK))
            wait_for(lambda: marked_above(page) == [CUT, BACK])


def marked_above(page: Page) -> list[int]:
    """Return the frames at whose beginning something is drawn above the bar of the timeline."""
    script = """() => {  // of a copy: Chromium advises against reading the page's own repeatedly
        const copy = new OffscreenCanvas(strip.width, strip.height);
        const context = copy.getContext("2d", {willReadFrequently: true});
        context.drawImage(strip, 0, 0);
        const row = context.getImageData(0, 1, copy.width, 1).data;
        return [...row].filter((_, index) => index % 4 === 3);
    }"""
    opacity = np.array(page.evaluate(script))
    places = [round(frame / END * len(opacity)) for frame in range(END)]
    return [frame for frame, x in enumerate(places) if opacity[max(0, x - 1) : x + 1].any()]


def test_the_stage_can_be_zoomed_about_the_pointer_and_moved(browser: Any, studio: Studio) -> None:
    with page_in(browser, studio.url) as page:
        before = text(page, "#zoom-value")
        page.mouse.move(*on_stage(page, 12, 16))
        page.mouse.wheel(0, -600)
        wait_for(lambda: text(page, "#zoom-value") != before)
        # what is beneath the pointer has stayed there
        page.mouse.click(*on_stage(page, 12, 16))
        x, y = on_stage(page, 12, 16)
        page.mouse.click(x + 100, y)
        page.mouse.click(x, y + 100)
        page.keyboard.press("Enter")
        wait_for(lambda: studio.session.painted.frames == [0])
        rows, columns = np.nonzero(studio.session.labels(0))
        assert abs(rows.min() - 16) <= 1
        assert abs(columns.min() - 12) <= 1
        page.keyboard.press("0")
        wait_for(lambda: text(page, "#zoom-value") == before)


def test_all_of_it_works_by_the_keyboard(
    browser: Any, studio: Studio, going_on: threading.Event
) -> None:
    session = studio.session
    with page_in(browser, studio.url) as page:

        def move(key: str, count: int) -> None:
            for _ in range(count):
                page.keyboard.press(f"Alt+{key}")

        move("ArrowUp", 10)
        page.keyboard.press("Enter")
        move("ArrowRight", 10)
        page.keyboard.press("Enter")
        move("ArrowDown", 10)
        page.keyboard.press("Enter")
        move("ArrowUp", 10)
        move("ArrowLeft", 10)
        page.keyboard.press("Enter")  # on the first corner
        wait_for(lambda: session.painted.frames == [0])
        wait_for(lambda: page.is_enabled("#follow"))
        page.keyboard.press(" ")
        stop_by_key(page, session, going_on)
        page.keyboard.press("Home")
        wait_for(lambda: page.input_value("#frame") == "0")
        page.keyboard.press("ArrowRight")
        wait_for(lambda: page.input_value("#frame") == "1")
        page.keyboard.press("Shift+ArrowRight")
        wait_for(lambda: page.input_value("#frame") == "11")
        page.keyboard.press("?")
        wait_for(lambda: page.is_visible("#help"))
        page.keyboard.press("Escape")
        wait_for(lambda: page.is_hidden("#help"))


# where they are once they are scrolled to
BUTTONS = """() => [...document.querySelectorAll("button")]
    .filter((button) => button.checkVisibility({visibilityProperty: true}))
    .map((button) => {
        button.scrollIntoView({block: "nearest", inline: "nearest"});
        return button.getBoundingClientRect().toJSON();
    })"""


def test_everything_is_in_reach_in_a_window_of_any_width_light_or_dark(
    browser: Any, studio: Studio
) -> None:
    with page_in(browser, studio.url) as page:
        for width in (360, 800, 1400):
            page.set_viewport_size({"width": width, "height": 700})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            boxes = page.evaluate(BUTTONS)
            assert len(boxes) == page.locator("button:visible").count() > 0
            for box in boxes:
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width
                assert box["height"] >= 26
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            ground, words = (brightness(page, name) for name in ("backgroundColor", "color"))
            assert (ground > words) is (scheme == "light")


def brightness(page: Page, name: str) -> int:
    """Return how bright a colour of the page is, 0 to 765."""
    colour = str(page.evaluate(f"getComputedStyle(document.body).{name}"))
    return sum(map(int, colour[4:-1].split(",")))


PREFETCHED = """performance.getEntriesByType("resource")
    .filter(({name}) => /frames.[12]$/.test(name)).length"""


def test_a_page_whose_studio_ends_says_so(browser: Any, studio: Studio) -> None:
    with page_in(browser, studio.url, may_fail="/state") as page:  # it tries to connect again
        wait_for(lambda: page.evaluate(PREFETCHED) == 2)  # what is still on its way would fail
        studio.server.should_exit = True
        wait_for(lambda: "has ended" in text(page, "#over-title"))
