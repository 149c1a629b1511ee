import io
import logging
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import PATIENCE, wait_for
from tests.media.making import make_video, picture
from tests.segment.test_cuts import BACK, CUT, film_with_cuts
from vostool.errors import InputError
from vostool.media.frame import Frame
from vostool.media.scene_cuts import CutFinder
from vostool.media.video import read_frames
from vostool.studio.frames import LONGEST, Frames, encode_jpeg


def read(video: Path, folder: Path) -> Frames:
    """Return the frames of a video that has been read to its end."""
    frames = Frames(video, folder, lambda: None)
    wait_for(lambda: frames.ended)
    return frames


def test_frames_are_found_by_number_in_any_order(tmp_path: Path) -> None:
    frames = read(make_video(tmp_path / "a.mp4", 8), tmp_path)
    assert frames.count == 8
    for number in (7, 0, 3):
        assert np.abs(frames.rgb(number, 64, 48).astype(int) - picture(number)).mean() < 8
    frames.close()


def test_frames_of_irregular_times_keep_the_numbers_of_the_masks(tmp_path: Path) -> None:
    times = [Fraction(number * number, 100) for number in range(6)]
    frames = read(make_video(tmp_path / "a.mkv", 6, times=times), tmp_path)
    assert frames.count == 6
    assert np.abs(frames.rgb(4, 64, 48).astype(int) - picture(4)).mean() < 8
    frames.close()


def test_scene_cuts_are_found_by_the_one_decode_that_makes_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decodes = 0

    def counted(*arguments: object, **options: object) -> Iterator[Frame]:
        nonlocal decodes
        decodes += 1
        return read_frames(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("vostool.studio.frames.read_frames", counted)
    frames = read(film_with_cuts(tmp_path / "a.mp4").path, tmp_path)
    assert frames.cuts == [CUT, BACK]
    assert decodes == 1
    frames.close()


def test_the_first_picture_does_not_wait_for_the_search_for_cuts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching, shown = threading.Event(), threading.Event()

    def add(self: CutFinder, rgb: object) -> None:
        self.count += 1
        searching.set()
        shown.wait(PATIENCE)

    monkeypatch.setattr(CutFinder, "add", add)
    frames = Frames(make_video(tmp_path / "a.mp4", 8), tmp_path, lambda: None)
    wait_for(searching.is_set)
    assert frames.jpeg(0)
    shown.set()
    frames.close()


def test_the_pictures_leave_no_file_behind(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", 8)
    (tmp_path / "out").mkdir()
    frames = read(video, tmp_path / "out")
    frames.close()
    assert list((tmp_path / "out").iterdir()) == []


def test_closing_while_frames_are_read_ends_the_thread(tmp_path: Path) -> None:
    frames = Frames(make_video(tmp_path / "a.mp4", 60), tmp_path, lambda: None)
    frames.close()
    assert not frames._thread.is_alive()


@pytest.mark.parametrize("number", [-1, 8])
def test_a_frame_that_is_not_there_is_an_input_error(tmp_path: Path, number: int) -> None:
    frames = read(make_video(tmp_path / "a.mp4", 8), tmp_path)
    with pytest.raises(InputError, match=f"frame {number}: expected one of the 8 read so far"):
        frames.jpeg(number)
    frames.close()


def test_a_video_that_breaks_off_keeps_the_frames_before_and_says_why(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mkv", 60)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    frames = read(video, tmp_path)
    assert 0 < frames.count < 60
    assert "announced are 2.4 s: is the file complete?" in frames.warnings[0]
    frames.close()


def test_what_goes_wrong_while_a_video_is_read_is_said_and_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    video = make_video(tmp_path / "a.mp4", 3)

    def fail(error: Exception) -> Callable[..., bytes]:
        def encode(rgb: object) -> bytes:
            raise error

        return encode

    for error, words in [
        (OSError(28, "No space left on device"), f"{tmp_path}: cannot be written: No space"),
        (RuntimeError("a bug"), "internal error: RuntimeError: a bug"),
    ]:
        monkeypatch.setattr("vostool.studio.frames.encode_jpeg", fail(error))
        with caplog.at_level(logging.ERROR):
            frames = read(video, tmp_path)
        assert str(frames.problem).startswith(words)
        frames.close()
    assert "Traceback" in caplog.text


def test_a_picture_too_long_is_shown_smaller_but_gives_a_frame_of_the_videos_size(
    tmp_path: Path,
) -> None:
    wide = np.zeros((40, 2 * LONGEST, 3), np.uint8)
    wide[:, LONGEST:] = 255
    assert Image.open(io.BytesIO(encode_jpeg(wide))).size == (LONGEST, 20)
    (tmp_path / "frames").mkdir()
    Image.fromarray(wide).save(tmp_path / "frames" / "0.png")
    frames = read(tmp_path / "frames", tmp_path)
    found = frames.rgb(0, 2 * LONGEST, 40)
    assert found.shape == wide.shape
    assert np.abs(found.astype(int) - wide).mean() < 2
    frames.close()
