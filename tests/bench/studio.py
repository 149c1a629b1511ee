"""How long a user waits for the studio, in a real browser, and what the page looks like.

    python -m tests.bench.studio start VIDEO      # until the page shows a frame; the server's RAM
    python -m tests.bench.studio start 10000      # the same with a video of so many frames
    python -m tests.bench.studio repair           # from the command to the masks of 40 frames
    python -m tests.bench.studio pictures FOLDER  # screenshots, to be looked at

All of them run `vostool studio` as a user does. `repair` follows the demo's ball with the shipped
network: a polygon, Follow, Stop, a repair with the brush, Follow, Save, Finish. Needs Chromium.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import cv2
import numpy as np
import typer
from PIL import Image

from tests.conftest import wait_for
from tests.studio.browser import (
    Page,
    browser_page,
    click_on,
    drag,
    go_to,
    is_idle,
    page_in,
    started_browser,
    state,
    text,
)
from vostool.media.labels import LabelMap
from vostool.media.writer import VideoWriter
from vostool.segment.demo import BALL, FRAMES, HEIGHT, KITE, RATE, WIDTH, render_frame

LENGTH = 40  # frames of the clip that is followed and repaired
CORNERS = 14  # of a polygon that is drawn
LONG = 600.0  # seconds that a run may take
SHOWN = 24  # the frame that screenshots show
HAZE = [(230.0, 150.0), (330.0, 150.0), (330.0, 215.0), (230.0, 215.0)]  # nothing to be followed
MOST_BYTES = 200_000  # of a picture for the README

app = typer.Typer(help=__doc__, no_args_is_help=True)


@dataclass
class Watch:
    """Prints how long each step takes."""

    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.last = self.began

    def done(self, words: str) -> None:
        now = time.monotonic()
        print(f"{now - self.last:7.2f} s  {words}", flush=True)
        self.last = now

    def total(self) -> None:
        print(f"{self.last - self.began:7.2f} s  in all", flush=True)


@contextmanager
def running(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command and yield it with the address that it prints."""
    command = [sys.executable, "-m", "vostool", "studio", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--no-browser"], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


def demo_clip(path: Path, frames: int = FRAMES) -> list[LabelMap]:
    """Write the first frames of the demo's film; return their true labels."""
    truth = []
    with VideoWriter(path, width=WIDTH, height=HEIGHT, rate=RATE) as writer:
        for index in range(frames):
            rgb, labels = render_frame(index / FRAMES)
            writer.write(rgb, Fraction(index) / RATE)
            truth.append(labels)
    return truth


def joined_clip(path: Path) -> LabelMap:
    """Write a film of two scenes, the demo and its negative; return the labels of frame 0."""
    with VideoWriter(path, width=WIDTH, height=HEIGHT, rate=RATE) as writer:
        for index in range(LENGTH):
            rgb, _ = render_frame(index / FRAMES)
            writer.write(rgb if index < SHOWN else 255 - rgb, Fraction(index) / RATE)
    return render_frame(0.0)[1]


def long_clip(path: Path, frames: int) -> None:
    """Write a film of so many frames of 640 x 360, a pattern that moves."""
    tiles = np.random.default_rng(0).integers(0, 255, (18, 32, 3), np.uint8)
    pattern = np.kron(tiles, np.ones((20, 20, 1), np.uint8))
    with VideoWriter(path, width=640, height=360, rate=RATE) as writer:
        for index in range(frames):
            writer.write(np.roll(pattern, index, axis=1), Fraction(index) / RATE)


def corners_of(labels: LabelMap, id_: int) -> list[tuple[float, float]]:
    """Return the corners of a polygon that a user might click around an object."""
    outlines, _ = cv2.findContours(
        (labels == id_).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    outline = max(outlines, key=cv2.contourArea).reshape(-1, 2)
    return [(float(x) + 0.5, float(y) + 0.5) for x, y in outline[:: len(outline) // CORNERS]]


def paint(page: Page, id_: int, corners: list[tuple[float, float]]) -> None:
    """Draw a polygon of an object."""
    before = state(page)["revision"]
    page.keyboard.press(str(id_))
    page.keyboard.press("p")
    click_on(page, *corners)
    page.keyboard.press("Enter")
    wait_for(lambda: state(page)["revision"] > before and is_idle(page))


def follow(page: Page, frames: int | None = None) -> None:
    """Follow to the end, or to at least so many frames."""
    wait_for(lambda: page.is_enabled("#follow"))
    page.click("#follow")
    wait_for(lambda: state(page)["run"] is not None or state(page)["complete"])
    if frames is not None:
        wait_for(lambda: state(page)["valid"] >= frames, LONG)
        page.keyboard.press(" ")
    wait_for(lambda: is_idle(page), LONG)


@app.command()
def start(video: Annotated[str, typer.Argument(help="A video, or a number of frames.")]) -> None:
    """Time the start of the command and of the page, and print the most RAM that it takes."""
    with TemporaryDirectory() as folder:
        path = Path(video)
        if video.isdecimal():
            path = Path(folder) / "long.mp4"
            long_clip(path, int(video))
        with started_browser() as browser:
            watch = Watch()
            with running(path, "-o", Path(folder) / "out") as (process, url):
                watch.done("until the address is printed")
                with page_in(browser, url) as page:
                    watch.done("until an open browser shows the first frame")
                    watch.total()
                    wait_for(lambda: state(page)["video"]["ended"], LONG)
                    watch.done(f"until all {state(page)['video']['read']} frames are read")
                    print(f"{peak(process.pid) / 1e6:7.0f} MB at most in the server's RAM")


def peak(pid: int) -> int:
    """Return how many bytes of RAM a process has had at most; Linux only."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@app.command()
def repair() -> None:
    """Time a new user's way with the shipped network: 40 frames, one of them repaired."""
    with TemporaryDirectory() as folder:
        clip, out = Path(folder) / "clip.mp4", Path(folder) / "out"
        truth = demo_clip(clip, LENGTH)
        watch = Watch()
        with running(clip, "-o", out) as (_, url), browser_page(url) as page:
            watch.done("until the page shows the first frame")
            paint(page, 1, corners_of(truth[0], BALL))
            watch.done("a polygon is drawn")
            follow(page, LENGTH // 2)
            watch.done(f"half of the {LENGTH} frames are followed")
            go_to(page, LENGTH // 4)
            page.keyboard.press("b")
            drag(page, *corners_of(truth[LENGTH // 4], BALL)[:3])
            wait_for(lambda: state(page)["valid"] == LENGTH // 4)
            watch.done(f"frame {LENGTH // 4} is repaired")
            follow(page)
            watch.done("the rest is followed")
            page.click("#save")
            wait_for(lambda: state(page)["saved"], LONG)
            watch.done("masks and overlay are saved")
            page.click("#finish")
            wait_for(lambda: "Finished" in text(page, "#over-title"))
            watch.done("finished")
            watch.total()
        print(f"{len(list((out / 'masks').glob('*.png')))} masks")


@app.command()
def pictures(folder: Path) -> None:
    """Write screenshots of the page, following both objects of the demo; one for the README."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as project:
        clip = Path(project) / "demo.mp4"
        truth = demo_clip(clip)
        arguments = (clip, "-o", Path(project) / "demo")
        with running(*arguments) as (_, url), browser_page(url, viewport=desktop()) as page:
            name_objects(page, "Ball", "Kite")
            paint(page, 1, corners_of(truth[0], BALL))
            page.screenshot(path=folder / "first.png")
            paint(page, 2, corners_of(truth[0], KITE))
            follow(page, SHOWN)
            go_to(page, SHOWN)
            page.screenshot(path=folder / "two.png")
            write_small(folder / "two.png", folder / "studio.png")
            go_to(page, 0)
            name_objects(page, "Ball", "Kite", "Haze")
            paint(page, 3, HAZE)
            follow(page, SHOWN)
            page.keyboard.press("d")
            page.wait_for_timeout(500)
            page.screenshot(path=folder / "doubtful.png")
            page.emulate_media(color_scheme="dark")
            page.screenshot(path=folder / "dark.png")
            page.set_viewport_size({"width": 390, "height": 844})
            page.wait_for_timeout(300)
            page.screenshot(path=folder / "narrow.png")
        labels = joined_clip(Path(project) / "joined.mp4")
        arguments = (Path(project) / "joined.mp4", "-o", Path(project) / "joined")
        with running(*arguments) as (_, url), browser_page(url, viewport=desktop()) as page:
            paint(page, 1, corners_of(labels, BALL))
            follow(page)
            page.keyboard.press("c")
            page.wait_for_timeout(500)
            page.screenshot(path=folder / "cuts.png")


def desktop() -> dict[str, int]:
    return {"width": 1180, "height": 720}


def name_objects(page: Page, *names: str) -> None:
    """Name the objects, adding those that there are not."""
    for _ in names[len(state(page)["objects"]) :]:
        page.click("#add-object")
    wait_for(lambda: page.locator("#objects li").count() == len(names))
    for id_, name in enumerate(names, start=1):
        page.fill(f"#objects li[data-id='{id_}'] input", name)
        page.keyboard.press("Enter")
    wait_for(lambda: [each["name"] for each in state(page)["objects"]] == [*names])
    page.locator("#canvas").focus()


def write_small(picture: Path, small: Path) -> None:
    """Write a screenshot in 256 colours, which is small enough for a README."""
    colours = Image.open(picture).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=8)
    colours.save(small, optimize=True)
    assert small.stat().st_size < MOST_BYTES


if __name__ == "__main__":
    app()
