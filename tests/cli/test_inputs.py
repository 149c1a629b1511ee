"""Pipes, cameras and addresses on the command line."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from tests.conftest import FRAMES, HEIGHT, ColourNetwork, Footage, interrupt
from tests.media.streaming import stdin_of
from tests.segment.test_inputs import y4m
from tests.test_cli import Call, segment, vostool
from vostool.cli import main
from vostool.errors import EXIT_CODES
from vostool.media import streams
from vostool.media.masks import read_mask
from vostool.media.video import read_frames

__all__ = ["segment", "vostool", "y4m"]  # fixtures

ToStdout = Callable[..., int]


def test_a_pipe_is_segmented_into_a_folder_named_stdin(
    segment: Call, video: Footage, y4m: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stdin_of(y4m.read_bytes(), monkeypatch):
        outcome = segment("-", "-m", video.mask)
    assert outcome.code == 0
    assert len(list(Path("stdin/masks").iterdir())) == FRAMES
    assert outcome.out.splitlines()[0] == str(Path("stdin/masks").absolute())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-", "--backward"], "--backward: reads the video a second time"),
        (["-", "--resume"], "--resume: reads the video a second time"),
        (["-", "--start", "0:01"], "--start 0:01: reads the video a second time"),
        (["-", "--fps", "10"], "--fps: is for folders"),
        (["https://user:secret@host/clip.mp4"], "https://host/clip.mp4: lies on the network; --al"),
        (["gopher://host/clip.mp4"], "gopher://host/clip.mp4: expected a path, or one of http"),
        (["-", "--camera", "0"], "--camera 0 takes the place of a VIDEO, found - too"),
        (["-", "-o", "-", "--json"], "-o - writes masks to stdout and nothing else; expected no"),
        (["-", "-o", "-", "--write", "coco"], "-o - writes masks to stdout and nothing else"),
        (["-", "-o", "-", "--resume"], "-o - writes masks to stdout and nothing else"),
    ],
)
def test_what_a_stream_cannot_do_is_a_usage_error_of_one_line(
    options: list[str], words: str, vostool: Call, video: Footage
) -> None:
    outcome = vostool("segment", "-m", video.mask, *options)
    assert outcome.code == 2
    assert outcome.err.startswith(f"vostool: {words}")
    assert outcome.err.count("\n") == 1
    assert "secret" not in outcome.err
    assert list(Path().iterdir()) == []


def test_a_stream_without_a_mask_is_a_usage_error(vostool: Call) -> None:
    outcome = vostool("segment", "-")
    assert outcome.code == 2
    assert outcome.err.startswith("vostool: stdin: expected --mask")


def test_a_camera_that_is_not_there_is_an_input_error_of_one_line(
    segment: Call, video: Footage
) -> None:
    outcome = segment("--camera", "97", "-m", video.mask)
    assert outcome.code == 3
    assert outcome.err.startswith("vostool: camera-97: ")
    assert outcome.err.count("\n") == 1


def test_a_stream_in_a_batch_names_the_line(vostool: Call, tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text("video,mask\nhttp://host/clip.mp4,mask.png\n")
    outcome = vostool("segment", "--batch", tmp_path / "jobs.csv")
    assert outcome.code == 3
    assert "jobs.csv:2: expected a file or a folder of frames, found http://" in outcome.err


@pytest.mark.parametrize(
    "command", [["mask", "--frame-only"], ["studio"], ["erf", "--mask", "x.png"]]
)
def test_other_commands_read_files_only(command: list[str], vostool: Call) -> None:
    outcome = vostool(command[0], "-", *command[1:])
    assert outcome.code in (2, 3)
    assert "only segment reads a pipe" in outcome.err
    assert outcome.err.count("\n") == 1


def test_ctrl_c_ends_a_camera_well(
    vostool: Call, video: Footage, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = ("lavfi", "testsrc=size=64x48:rate=25", dict[str, str]())
    monkeypatch.setattr(streams, "DEVICES", {"linux": device, sys.platform: device})
    network = ColourNetwork(6, interrupt)
    monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: network)
    always = ("--weights", weights, "--device", "cpu", "--size", HEIGHT, "-o", tmp_path / "out")
    outcome = vostool("segment", "--camera", 0, "-m", video.mask, *always)
    assert (outcome.code, outcome.err.count("interrupted")) == (0, 0)
    frames = len(list((tmp_path / "out" / "masks").iterdir()))
    assert frames >= 6
    assert len(list(read_frames(tmp_path / "out" / "overlay.mp4"))) == frames
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def to_stdout(
    segment: Call, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> ToStdout:
    """Run `vostool segment` with stdout at a descriptor, and stderr in a file; return its code."""

    def run(stdout: int, *arguments: object) -> int:
        always = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        line = ["vostool", "segment", *map(str, (*arguments, *always))]
        with (
            os.fdopen(stdout, "w") as out,
            (tmp_path / "err.txt").open("w") as err,
            monkeypatch.context() as patch,
        ):
            for name, value in (("argv", line), ("stdout", out), ("stderr", err)):
                patch.setattr(sys, name, value)
            try:
                main()
            except SystemExit as stop:
                assert isinstance(stop.code, int)
                return stop.code
        return 0

    return run


def test_masks_go_to_stdout_and_nothing_else(
    to_stdout: ToStdout, segment: Call, video: Footage, tmp_path: Path
) -> None:
    assert segment(video.path, "-m", video.mask, "-o", tmp_path / "out").code == 0
    path = tmp_path / "masks.y4m"
    code = to_stdout(
        os.open(path, os.O_WRONLY | os.O_CREAT), video.path, "-m", video.mask, "-o", "-"
    )
    assert code == 0
    with av.open(str(path)) as stream:
        found = [frame.to_ndarray(format="gray") for frame in stream.decode(video=0)]
    assert len(found) == FRAMES
    for index, labels in enumerate(found):
        assert (labels == read_mask(tmp_path / "out" / "masks" / f"{index:05d}.png")).all()
    assert f"{FRAMES} frames" in (tmp_path / "err.txt").read_text()


def test_masks_for_a_stdout_that_is_closed_are_a_usage_error(
    segment: Call, video: Footage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "__stdout__", None)
    outcome = segment(video.path, "-m", video.mask, "-o", "-")
    assert outcome.code == 2
    assert outcome.err == "vostool: -o -: stdout is closed; send it to a program or into a file\n"


def test_a_reader_that_goes_away_is_an_output_error_of_one_line(
    to_stdout: ToStdout, video: Footage, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = to_stdout(writing, video.path, "-m", video.mask, "-o", "-", "--quiet")
    assert EXIT_CODES[code] == "output exists, is in use or cannot be written"
    assert (tmp_path / "err.txt").read_text() == (
        "vostool: stdout: cannot be written: Broken pipe\n"
    )
