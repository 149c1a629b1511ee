"""The WebM with alpha in a real browser: over magenta, only the object hides it."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import FRAMES, HEIGHT, ORANGE, WIDTH, Footage, draw, segmented
from tests.media.streaming import served
from tests.segment.writers.test_writers import source_of
from tests.studio.browser import Page, started_browser
from vostool.media.video import read_frames
from vostool.segment.writers import writer_of

pytestmark = pytest.mark.browser

MAGENTA = (255, 0, 255)
EDGE = 4  # pixels on both sides of an outline that are neither the object alone nor the rest
PAGE = "<!doctype html><title>film</title><video muted></video><canvas></canvas>"
SEEK = """async time => {
  const film = document.querySelector('video');
  if (!film.src) {
    const answer = await fetch('cutout.webm');
    film.src = URL.createObjectURL(await answer.blob());
    await new Promise((done, fail) => { film.onloadeddata = done; film.onerror = fail; });
  }
  await new Promise(done => { film.onseeked = done; film.currentTime = time; });
}"""
# the film as it is painted over a colour, (H, W, 4) in a row
PAINT = """() => {
  const film = document.querySelector('video'), canvas = document.querySelector('canvas');
  canvas.width = film.videoWidth;
  canvas.height = film.videoHeight;
  const context = canvas.getContext('2d');
  context.fillStyle = '#ff00ff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(film, 0, 0);
  const shown = context.getImageData(0, 0, canvas.width, canvas.height);
  return {size: [canvas.height, canvas.width, film.duration], data: Array.from(shown.data)};
}"""
SECONDS = 120.0  # after a seek, until Chromium must have the frame to paint


def grown(labels: NDArray[np.uint8], pixels: int) -> NDArray[np.bool_]:
    """Return what lies within so many pixels of an object, in rows and columns."""
    there = labels > 0
    for axis in (0, 1):
        shifts = (np.roll(there, shift, axis) for shift in range(-pixels, pixels + 1))
        there = np.logical_or.reduce(list(shifts))
    return there


@pytest.fixture
def folder(video: Footage, tmp_path: Path) -> Path:
    """A folder with the film and a page to show it on."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text(PAGE)
    with writer_of("alpha=vp9", site, source_of(video)) as writer:
        writer.begin()
        for frame in read_frames(video.path):
            writer.add(segmented(frame, video.labels[frame.index]))
    return site


def test_a_browser_shows_the_object_over_magenta_and_nothing_else(folder: Path) -> None:
    with served(folder) as address, started_browser() as browser:
        page = browser.new_page()
        page.goto(f"{address}/index.html")
        for index in (0, 3, FRAMES - 1):
            page.evaluate(SEEK, (index + 0.5) / 25)
            check_once_painted(page, index)


def check_once_painted(page: Page, index: int) -> None:
    """Check a frame that was sought: Chromium says so a moment before it can paint the frame."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            return check(page.evaluate(PAINT), index)
        except AssertionError:
            if time.monotonic() > end:
                raise
        time.sleep(0.05)


def check(painted: dict[str, Any], index: int) -> None:
    """Assert that a frame shows its object, with the colour it has, and magenta elsewhere."""
    height, width, seconds = painted["size"]
    assert (height, width) == (HEIGHT, WIDTH)
    assert seconds == pytest.approx(FRAMES / 25, abs=0.01)
    shown = np.array(painted["data"], np.uint8).reshape(height, width, 4)[..., :3].astype(int)
    _, labels = draw(index)
    outside = ~grown(labels, EDGE)
    inside = ~grown((labels == 0).astype(np.uint8), EDGE)
    assert inside.sum() > 30
    assert np.abs(shown[inside] - ORANGE).max() < 30
    assert np.abs(shown[outside] - MAGENTA).max() < 8
    # no fringe: along the edge, too, nothing is as dark as what was behind the object
    assert shown[..., 0].min() > 180
