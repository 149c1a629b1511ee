import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.media.making import make_raw, make_video, picture
from vostool.errors import InputError
from vostool.media import backward
from vostool.media import video as reading
from vostool.media.backward import BackwardReader
from vostool.media.frame import Frame
from vostool.media.video import read_frames

COUNT = 23
GOP = {"g": "6", "bf": "2"}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "BLOCK_FRAMES", 4)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures are decoded: an entry for each."""
    found: list[int] = []

    def counted(inner: Any) -> Any:
        def decode(*arguments: Any) -> Any:
            for each in inner(*arguments):
                found.append(1)
                yield each

        return decode

    for module, name in (
        (reading, "all_pictures"),
        (backward, "all_pictures"),
        (backward, "decode_pictures"),
    ):
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    return found


def assert_read_backward(path: Path, start: int = 0, end: int | None = None) -> None:
    forward = list(read_frames(path, start, end))
    reader = BackwardReader(path, end)
    found = list(reader.read(start, reader.frames))
    assert [frame.index for frame in found] == [frame.index for frame in reversed(forward)]
    for one, other in zip(found, reversed(forward), strict=True):
        assert (one.time, one.name) == (other.time, other.name)
        assert np.array_equal(one.rgb, other.rgb)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"codec_options": GOP}),
        ("a.mkv", {"codec_options": GOP}),
        ("a.ts", {"codec_options": GOP}),
        ("a.mp4", {"codec_options": {"g": "250"}}),
        ("open.mp4", {"codec_options": {**GOP, "x264-params": "open-gop=1"}}),
        ("a.webm", {"codec": "libvpx-vp9", "codec_options": {"g": "6"}}),
        ("a.avi", {"codec_options": GOP}),
        ("turned.mp4", {"codec_options": GOP, "rotation": 90}),
    ],
)
def test_a_video_is_read_backward_as_it_is_read_forward(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    assert_read_backward(make_video(tmp_path / name, COUNT, **options))


@pytest.mark.parametrize(("start", "end"), [(3, None), (0, 9), (7, 20), (5, 90)])
def test_a_range_is_read_backward(tmp_path: Path, start: int, end: int | None) -> None:
    video = make_video(tmp_path / "a.mp4", COUNT, codec_options=GOP)
    assert_read_backward(video, start, end)
    assert BackwardReader(video, end).frames == min(COUNT, end or COUNT)


def test_a_folder_is_read_backward(tmp_path: Path) -> None:
    for index in range(5):
        Image.fromarray(picture(index)).save(tmp_path / f"f{index}.png")
    assert_read_backward(tmp_path)
    assert_read_backward(tmp_path, 1, 4)
    assert_read_backward(tmp_path, 1, 9)


def test_a_block_is_decoded_from_its_key_picture_on(tmp_path: Path, decoded: list[int]) -> None:
    video = make_video(tmp_path / "a.mp4", 60, codec_options=GOP)
    reader = BackwardReader(video)
    assert len(decoded) == 60
    list(reader.read(0, 60))
    assert len(decoded) <= 60 + 2.5 * 60


def test_a_block_that_shows_other_pictures_is_decoded_from_the_beginning(
    tmp_path: Path, decoded: list[int]
) -> None:
    video = make_video(tmp_path / "a.mp4", COUNT, codec_options={"g": "250", "bf": "0"})
    reader = BackwardReader(video)
    assert reader._index is not None
    reader._index.keys.extend([9, 15])  # in truth they depend on the pictures before them
    found = list(reader.read(0, COUNT))
    forward = list(read_frames(video))
    assert all(np.array_equal(f.rgb, forward[f.index].rgb) for f in found)
    assert len(found) == COUNT
    assert len(decoded) > 3 * COUNT


def test_times_that_are_stored_twice_do_not_mislead(tmp_path: Path) -> None:
    pictures = [bytes([shade] * 64 * 48) for shade in range(0, 240, 12)]
    assert_read_backward(make_raw(tmp_path / "a.avi", 64, 48, "gray", pictures))


def test_no_more_than_a_block_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched(np.ndarray):
        """An array to which there can be weak references."""

    video = make_video(tmp_path / "a.mp4", 40, codec_options=GOP)
    reader = BackwardReader(video)
    assert reader._index is not None
    shown: list[weakref.ref[Any]] = []
    present = reader._index.presenter.present

    def watched(*arguments: Any) -> Any:
        rgb = present(*arguments).view(Watched)
        shown.append(weakref.ref(rgb))
        return rgb

    monkeypatch.setattr(reader._index.presenter, "present", watched)
    most = 0
    frame: Frame | None = None
    for frame in reader.read(0, 40):
        most = max(most, sum(each() is not None for each in shown))
        assert frame.rgb is not None
    assert len(shown) == 40
    assert most <= 5


def test_large_pictures_come_in_smaller_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video(tmp_path / "a.mp4", 12, codec_options={"g": "250"})
    monkeypatch.setattr(backward, "BLOCK_BYTES", 2 * 64 * 48 * 3)
    lengths: list[int] = []
    block = backward.Index._block

    def noted(self: backward.Index, first: int, end: int) -> list[Frame]:
        lengths.append(end - first)
        return block(self, first, end)

    monkeypatch.setattr(backward.Index, "_block", noted)
    assert_read_backward(video)
    assert lengths == [2] * 6


def test_what_is_no_video_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="cannot be read as a video"):
        BackwardReader(tmp_path / "a.mp4")
