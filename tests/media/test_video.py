import gc
import re
import resource
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tests.media.making import (
    add_sound,
    crop_bitstream,
    make_cropped_matroska,
    make_cropped_mp4,
    make_motion_jpeg,
    make_video,
    picture,
    write_clicks,
)
from vostool.errors import InputError, UsageError
from vostool.media.compat import described_crop
from vostool.media.frame import Frame
from vostool.media.video import probe, read_frames, read_undamaged

CLOSE = 12  # levels; what lossy coding and halved chroma may cost within a flat area


def corners(rgb: NDArray[np.uint8]) -> list[str]:
    """Name the colours of the corners: top left, top right, bottom left, bottom right."""
    names = {0: "red", 1: "green", 2: "blue"}
    height, width, _ = rgb.shape
    places = [(y, x) for y in (3, height - 4) for x in (3, width - 4)]
    return [names[int(rgb[place].argmax())] for place in places]


def shown_at(index: int, rgb: NDArray[np.uint8]) -> bool:
    """Whether a picture shows the white bar where number `index` has it."""
    expected = picture(index, rgb.shape[1], rgb.shape[0])
    return bool(np.abs(rgb[30, :].astype(int) - expected[30, :]).mean() < CLOSE)


def damage(video: Path, broken: set[int]) -> Path:
    """Spoil some pictures of a video of PNG, in place."""
    data = bytearray(video.read_bytes())
    starts = [match.start() for match in re.finditer(b"\x89PNG", data)]
    for index in broken:
        data[starts[index]] = 0
    video.write_bytes(data)
    return video


@pytest.fixture(autouse=True)
def several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode in several threads on any machine: they hold pictures when a file ends."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "clip.mp4", sound="aac")


class TestOrdinaryVideo:
    def test_gives_every_frame_with_its_number_name_and_time(self, video: Path) -> None:
        frames = list(read_frames(video))
        assert [frame.index for frame in frames] == list(range(8))
        assert [frame.time for frame in frames] == [Fraction(i, 25) for i in range(8)]
        assert frames[3].name == "00003"
        assert all(shown_at(frame.index, frame.rgb) for frame in frames)

    def test_gives_contiguous_bytes_that_may_be_changed(self, video: Path) -> None:
        rgb = next(read_frames(video)).rgb
        assert rgb.dtype == np.uint8
        assert rgb.flags.c_contiguous
        assert rgb.flags.writeable

    def test_gives_a_range_with_the_numbers_of_the_whole(self, video: Path) -> None:
        frames = list(read_frames(video, 2, 5))
        assert [frame.index for frame in frames] == [2, 3, 4]
        assert all(shown_at(frame.index, frame.rgb) for frame in frames)

    def test_an_end_beyond_the_last_frame_is_the_last_frame(self, video: Path) -> None:
        assert len(list(read_frames(video, 6, 99))) == 2

    def test_a_start_beyond_the_last_frame_is_an_error_with_the_count(self, video: Path) -> None:
        with pytest.raises(InputError, match=r"cannot start at frame 8, it has 8 frames"):
            list(read_frames(video, 8))

    @pytest.mark.parametrize(("start", "end"), [(-1, None), (3, 3), (4, 2)])
    def test_an_empty_range_is_refused_at_once(
        self, video: Path, start: int, end: int | None
    ) -> None:
        with pytest.raises(UsageError, match="expected 0 <= start < end"):
            read_frames(video, start, end)

    def test_is_probed(self, video: Path) -> None:
        info = probe(video)
        assert (info.width, info.height, info.frames) == (64, 48, 8)
        assert info.rate == 25
        assert info.seconds == pytest.approx(8 / 25)
        assert (info.codec, info.pixel_format, info.rotation) == ("h264", "yuv420p", 0)
        assert info.pixel_aspect == 1
        assert info.has_audio

    def test_may_have_a_colon_in_its_name(self, video: Path, tmp_path: Path) -> None:
        copy = tmp_path / "a:b.mp4"
        copy.write_bytes(video.read_bytes())
        assert len(list(read_frames(copy))) == 8


def test_times_of_a_variable_rate_are_exact(tmp_path: Path) -> None:
    times = [Fraction(n, 1000) for n in (0, 33, 67, 500, 533, 1200, 2000)]
    video = make_video(tmp_path / "vfr.mkv", count=7, times=times)
    assert [frame.time for frame in read_frames(video)] == times


def test_a_stream_without_timestamps_goes_by_its_rate(tmp_path: Path) -> None:
    frames = list(read_frames(make_video(tmp_path / "raw.h264")))
    assert [frame.time for frame in frames] == [Fraction(i, 25) for i in range(8)]


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("deep.mp4", "libx264", "yuv420p10le"),
        ("full.mp4", "libx264", "yuv444p"),
        ("range.mp4", "libx264", "yuvj420p"),
        ("film.webm", "libvpx-vp9", "yuv420p"),
        ("screen.mkv", "ffv1", "bgra"),
        ("moving.gif", "gif", "rgb8"),
    ],
)
def test_reads_many_kinds(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    frames = list(read_frames(make_video(tmp_path / name, 4, 64, 48, codec, pixel_format)))
    assert len(frames) == 4
    assert corners(frames[0].rgb) == ["green", "green", "red", "blue"]
    assert all(shown_at(frame.index, frame.rgb) for frame in frames) or codec == "gif"


def test_reads_odd_sizes(tmp_path: Path) -> None:
    video = make_video(tmp_path / "odd.mp4", 3, 65, 49, pixel_format="yuv444p")
    assert (probe(video).width, probe(video).height) == (65, 49)
    assert all(frame.rgb.shape == (49, 65, 3) for frame in read_frames(video))


def test_tells_pixels_that_are_not_square(tmp_path: Path) -> None:
    assert probe(make_video(tmp_path / "tv.mp4", aspect=Fraction(16, 15))).pixel_aspect == (
        Fraction(16, 15)
    )


class TestRotation:
    @pytest.mark.parametrize(
        ("rotation", "mirrored", "expected"),
        [
            (90, False, ["green", "blue", "green", "red"]),
            (180, False, ["blue", "red", "green", "green"]),
            (-90, False, ["red", "green", "blue", "green"]),
            (0, True, ["green", "green", "blue", "red"]),
        ],
    )
    def test_is_applied(
        self, tmp_path: Path, rotation: int, mirrored: bool, expected: list[str]
    ) -> None:
        video = make_video(tmp_path / "turned.mp4", 2, rotation=rotation, mirrored=mirrored)
        rgb = next(read_frames(video)).rgb
        assert corners(rgb) == expected
        assert rgb.shape[:2] == (probe(video).height, probe(video).width)

    def test_turns_size_and_pixel_aspect(self, tmp_path: Path) -> None:
        info = probe(make_video(tmp_path / "up.mp4", 2, rotation=-90, aspect=Fraction(4, 3)))
        assert (info.width, info.height) == (48, 64)
        assert info.pixel_aspect == Fraction(3, 4)
        assert info.rotation == 270

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_of_a_camera_that_writes_exif_is_applied(
        self, tmp_path: Path, orientation: int
    ) -> None:
        video = make_motion_jpeg(tmp_path / "camera.avi", orientation)
        turned = Image.fromarray(picture(0))
        turned.getexif()[0x0112] = orientation
        expected = np.asarray(ImageOps.exif_transpose(turned))
        frames = list(read_frames(video))
        assert len(frames) == 3
        assert (probe(video).height, probe(video).width) == expected.shape[:2]
        assert np.abs(frames[0].rgb.astype(int) - expected).mean() < CLOSE


class TestCrop:
    TOP, BOTTOM, LEFT, RIGHT = 2, 6, 10, 4

    @pytest.mark.parametrize(
        ("name", "make"), [("crop.mkv", make_cropped_matroska), ("crop.mp4", make_cropped_mp4)]
    )
    def test_of_the_container_is_applied(
        self, tmp_path: Path, name: str, make: Callable[..., Path]
    ) -> None:
        video = make(tmp_path / name, self.TOP, self.BOTTOM, self.LEFT, self.RIGHT)
        self.check(video)

    def test_of_the_bitstream_is_applied(self, tmp_path: Path) -> None:
        whole = make_video(tmp_path / "whole.mp4", 3)
        crop = f"crop_top=2:crop_bottom=6:crop_left={self.LEFT}:crop_right={self.RIGHT}"
        self.check(crop_bitstream(whole, tmp_path / "crop.mp4", crop))

    def check(self, video: Path) -> None:
        expected = picture(0)[self.TOP : -self.BOTTOM, self.LEFT : -self.RIGHT]
        rgb = next(read_frames(video)).rgb
        assert rgb.shape == expected.shape
        assert (probe(video).height, probe(video).width) == expected.shape[:2]
        assert np.median(np.abs(rgb.astype(int) - expected)) <= 3
        left = rgb.astype(int)[30, :22], expected[30, :22]
        assert np.abs(left[0] - left[1]).max() < 60  # the edges of the white bar are in place

    @pytest.mark.parametrize("crop", [(0, 0, 0, 0), (1, 2, 3, 4)])
    def test_is_found_in_a_description_too(self, crop: tuple[int, int, int, int]) -> None:
        other = "  Stream #0:0: Video: h264\n    Side data:\n      Frame Cropping: 9/9/9/9\n"
        mine = (
            "  Stream #0:1: Video: h264\n    Metadata:\n      title   : Side data:\n"
            "                : Frame Cropping: 8/8/8/8\n    Side data:\n      displaymatrix: x\n"
        )
        text = "Input #0, matroska,webm, from '':\n" + other + mine
        if any(crop):
            text += f"      Frame Cropping: {'/'.join(map(str, crop))}\n"
        assert described_crop(text, 1) == (*crop[2:], *crop[:2])  # FFmpeg says left and right first


class TestTimes:
    def test_of_joined_transport_streams_go_on(self, tmp_path: Path) -> None:
        part = make_video(tmp_path / "part.ts")
        joined = tmp_path / "joined.ts"
        joined.write_bytes(part.read_bytes() * 2)
        warnings: list[str] = []
        frames = list(read_frames(joined, warnings=warnings))
        assert [frame.time - frames[0].time for frame in frames] == [
            Fraction(i, 25) for i in range(16)
        ]
        assert warnings == [
            f"{joined}: its clock breaks off at frame 8; what follows is joined on without a gap"
        ]
        assert len(list(read_undamaged(joined))) == 16  # nothing is missing

    def test_of_one_picture_far_off_are_put_right(self, tmp_path: Path) -> None:
        times = [*(Fraction(i, 25) for i in range(7)), Fraction(300)]
        video = make_video(tmp_path / "far.mkv", times=times)
        warnings: list[str] = []
        frames = list(read_frames(video, warnings=warnings))
        assert [frame.time for frame in frames] == [Fraction(i, 25) for i in range(8)]
        assert "clock breaks off at frame 7" in warnings[0]

    def test_of_an_avi_with_reordered_pictures_are_even(self, tmp_path: Path) -> None:
        video = make_video(tmp_path / "b.avi", 20, codec_options={"bf": "3"})
        warnings: list[str] = []
        frames = list(read_frames(video, warnings=warnings))
        assert [frame.time for frame in frames] == [Fraction(i, 25) for i in range(20)]
        assert warnings == []


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts as Linux does")
def test_memory_and_threads_do_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    video = make_video(tmp_path / "hd.mp4", 60, 1280, 720, codec_options={"preset": "ultrafast"})
    usage = []
    gc.collect()
    gc.disable()
    try:
        for frame in read_frames(video):
            if frame.index in (20, 59):
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                usage.append((pages, len(list(Path("/proc/self/task").iterdir()))))
    finally:
        gc.enable()
    (pages, threads), (later_pages, later_threads) = usage
    assert later_threads <= threads
    assert (later_pages - pages) * resource.getpagesize() < 10 * 1280 * 720 * 3


class TestUnreadable:
    def refusal(self, path: Path) -> str:
        with pytest.raises(InputError) as caught:
            list(read_frames(path))
        with pytest.raises(InputError):
            probe(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        return message

    def test_a_missing_file(self, tmp_path: Path) -> None:
        assert "No such file" in self.refusal(tmp_path / "nothing.mp4")

    def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "empty.mp4").touch()
        assert "empty (0 bytes)" in self.refusal(tmp_path / "empty.mp4")

    def test_bytes_that_are_no_video(self, tmp_path: Path) -> None:
        (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
        assert "cannot be read as a video" in self.refusal(tmp_path / "noise.mp4")

    def test_text(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("not a video\n" * 50)
        assert "found text" in self.refusal(tmp_path / "notes.txt")

    def test_sound_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "song.mp4"
        with av.open(str(path), "w") as output:
            add_sound(output, "aac")
            write_clicks(output, Fraction(1))
        assert "found only audio" in self.refusal(path)

    def test_an_mp4_without_its_index(self, tmp_path: Path) -> None:
        whole = make_video(tmp_path / "whole.mp4").read_bytes()
        (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
        assert "is the file complete?" in self.refusal(tmp_path / "cut.mp4")


class TestDamage:
    def test_a_file_cut_off_gives_what_it_has_then_says_where(self, tmp_path: Path) -> None:
        whole = make_video(tmp_path / "whole.mp4", 50, options={"movflags": "+faststart"})
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(whole.read_bytes()[:-900])
        seen: list[int] = []
        with pytest.raises(
            InputError, match=r"breaks off after frame \d+: (the file is cut off|Invalid data)"
        ):
            seen.extend(frame.index for frame in read_frames(cut))
        assert 10 < len(seen) < 50
        assert seen == list(range(len(seen)))

    def test_a_file_cut_off_is_no_error_if_it_has_the_wanted_frames(self, tmp_path: Path) -> None:
        whole = make_video(tmp_path / "whole.mp4", 50, options={"movflags": "+faststart"})
        whole.write_bytes(whole.read_bytes()[:-900])
        assert len(list(read_frames(whole, 0, 8))) == 8

    def test_a_shorter_video_than_announced_is_doubtful(self, tmp_path: Path) -> None:
        whole = make_video(tmp_path / "whole.mkv", 75, codec_options={"g": "5"})
        data = whole.read_bytes()
        whole.write_bytes(data[: len(data) // 3])
        warnings: list[str] = []
        count = len(list(read_frames(whole, warnings=warnings)))
        assert 0 < count < 50
        assert "announced are 3.0 s: is the file complete?" in warnings[0]

    @pytest.mark.parametrize("broken", [{11}, {10}, {9, 11}, {8, 9, 10, 11}])
    def test_at_the_end_is_counted_and_nothing_else_is_lost(
        self, tmp_path: Path, broken: set[int]
    ) -> None:
        video = damage(
            make_video(tmp_path / "bad.mov", 12, codec="png", pixel_format="rgb24"), broken
        )
        whole = [index for index in range(12) if index not in broken]
        warnings: list[str] = []
        shown, problem = list[Frame](), ""
        try:
            shown.extend(read_frames(video, warnings=warnings))
        except InputError as error:
            problem = str(error)
        assert len(shown) == len(whole)
        assert all(shown_at(whole[frame.index], frame.rgb) for frame in shown)
        assert f"skipped {len(broken)} damaged" in warnings[0]
        assert f"the first after frame {min(broken) - 1}" in warnings[0]
        assert ("breaks off" in problem) == (11 in broken)

    def test_in_a_group_of_pictures_at_the_end_is_told(self, tmp_path: Path) -> None:
        video = make_video(tmp_path / "end.mp4", 40, codec_options={"bf": "0", "g": "20"})
        with av.open(str(video)) as container:
            last = [packet for packet in container.demux(video=0) if packet.size][-1]
            place, size = last.pos or 0, last.size
        data = bytearray(video.read_bytes())
        data[place : place + size] = b"\xff" * size
        video.write_bytes(data)
        count = 0
        with pytest.raises(InputError, match="breaks off after frame 38"):
            for _ in read_frames(video):
                count += 1
        assert count == 39

    @pytest.mark.parametrize("broken", [0, 4])
    def test_what_cannot_be_decoded_is_passed_over(self, tmp_path: Path, broken: int) -> None:
        video = make_video(tmp_path / "bad.mov", 12, codec="png", pixel_format="rgb24")
        damage(video, {broken})
        warnings: list[str] = []
        frames = list(read_frames(video, warnings=warnings))
        assert [frame.index for frame in frames] == list(range(11))
        where = "after frame 3" if broken else "at the beginning"
        assert warnings == [f"{video}: skipped 1 damaged packet(s), the first {where}"]
        with pytest.raises(InputError, match="skipped 1 damaged packet"):
            list(read_undamaged(video))
