"""Where frames come from: files and folders, and streams, which are read once."""

import errno
import os
import socket
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from tests.media.making import make_raw, make_video, picture
from tests.media.streaming import served, stdin_of
from vostool.errors import InputError, UsageError
from vostool.media import streams
from vostool.media.frame import Frame
from vostool.media.inputs import Stored, Stream, camera, default_output, parse_input, parse_rate
from vostool.media.video import probe, read_frames

COUNT = 8


def stream_of(text: str, allow_network: bool = False) -> Stream:
    found = parse_input(text, allow_network)
    assert isinstance(found, Stream)
    return found


def make_y4m(path: Path, count: int = COUNT) -> Path:
    """Write what `ffmpeg -f yuv4mpegpipe -` does."""
    content = [picture(index).mean(axis=2).astype(np.uint8).tobytes() for index in range(count)]
    return make_raw(path, 64, 48, "yuv420p", [each + bytes([128]) * 1536 for each in content])


def assert_same(found: list[Frame], expected: list[Frame]) -> None:
    assert [(each.index, each.time, each.name) for each in found] == [
        (each.index, each.time, each.name) for each in expected
    ]
    for one, other in zip(found, expected, strict=True):
        assert (one.rgb == other.rgb).all()


class TestAPipe:
    @pytest.mark.parametrize("name", ["clip.y4m", "clip.ts", "clip.mkv"])
    def test_gives_the_frames_of_the_file_that_it_carries(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / name
        (make_y4m if name.endswith("y4m") else make_video)(path, COUNT)
        with stdin_of(path.read_bytes(), monkeypatch):
            stream = stream_of("-")
            info = stream.probe()
            found = list(stream.frames())
        stored = probe(path)
        assert (info.width, info.height, info.rate) == (stored.width, stored.height, stored.rate)
        assert str(info.path) == "stdin"
        assert_same(found, list(read_frames(path)))

    def test_gives_every_nth_frame_from_the_first_one_asked_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = make_y4m(tmp_path / "clip.y4m")
        with stdin_of(path.read_bytes(), monkeypatch):
            found = list(stream_of("-").frames(1, 7, 3))
        assert [frame.index for frame in found] == [1, 4]
        assert_same(found, list(read_frames(path, 1, 7, stride=3)))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", r"stdin: expected a video, found nothing \(0 bytes\)"),
            (b"#EXTM3U\nhttp://localhost/clip.ts\n", "stdin: expected a video, found a playlist"),
            (b"ffconcat version 1.0\nfile clip.ts\n", "stdin: expected a video, found a playlist"),
            (b"nothing but words\n" * 99, "stdin: (expected a video, found text|cannot be read)"),
        ],
    )
    def test_without_a_video_is_an_input_error(
        self, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with stdin_of(content, monkeypatch), pytest.raises(InputError, match=message):
            stream_of("-").probe()

    def test_that_breaks_off_gives_the_frames_before_and_then_an_input_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = make_y4m(tmp_path / "clip.y4m").read_bytes()
        with stdin_of(content[: len(content) * 2 // 3], monkeypatch):
            found = []
            with pytest.raises(InputError, match="stdin: breaks off in the middle of a picture"):
                for frame in stream_of("-").frames():
                    found.append(frame.index)  # noqa: PERF401
        assert found == list(range(5))

    def test_that_fails_gives_the_frames_before_and_then_an_input_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = make_y4m(tmp_path / "clip.y4m", 40).read_bytes()
        reading = streams.Pipe.read

        def fail_late(pipe: streams.Pipe, size: int) -> bytes:
            if pipe.size > len(content) // 2:
                raise OSError(errno.EIO, "Input/output error")
            return reading(pipe, size)

        monkeypatch.setattr(streams.Pipe, "read", fail_late)
        with stdin_of(content, monkeypatch):
            found = []
            with pytest.raises(InputError, match=r"breaks off after frame 2\d: Input/output error"):
                for frame in stream_of("-").frames():
                    found.append(frame.index)  # noqa: PERF401
        assert len(found) >= 20

    def test_that_another_program_made_non_blocking_is_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = make_y4m(tmp_path / "clip.y4m").read_bytes()
        reading, writing = os.pipe()
        os.set_blocking(reading, False)

        def feed() -> None:
            with os.fdopen(writing, "wb") as pipe:
                for part in (content[: len(content) // 2], content[len(content) // 2 :]):
                    time.sleep(0.05)
                    pipe.write(part)
                    pipe.flush()

        feeder = threading.Thread(target=feed)
        feeder.start()
        stdin = SimpleNamespace(fileno=lambda: reading, isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", stdin)
        assert len(list(stream_of("-").frames())) == COUNT
        feeder.join()
        os.close(reading)

    @pytest.mark.parametrize(
        ("pixel_format", "size"),
        [
            ("yuv420p", (65, 47)),
            ("yuv411p", (65, 47)),
            ("yuv422p10le", (63, 48)),
            ("yuv444p16le", (5, 3)),
            ("gray", (64, 48)),
            ("gray10le", (33, 7)),
        ],
    )
    def test_of_any_pixel_format_is_known_to_be_whole(
        self,
        pixel_format: str,
        size: tuple[int, int],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with av.open(str(tmp_path / "clip.y4m"), "w", options={"strict": "-1"}) as output:
            stream = output.add_stream("wrapped_avframe", rate=25, width=size[0], height=size[1])
            stream.pix_fmt = pixel_format
            for index in range(3):
                frame = av.VideoFrame(*size, pixel_format)
                frame.pts, frame.time_base = index, Fraction(1, 25)
                output.mux(stream.encode(frame))
        content = (tmp_path / "clip.y4m").read_bytes()
        with stdin_of(content, monkeypatch):
            assert len(list(stream_of("-").frames())) == 3
        with stdin_of(content[:-1], monkeypatch), pytest.raises(InputError, match="breaks off"):
            list(stream_of("-").frames())

    def test_of_an_mp4_with_its_index_at_the_end_names_the_remedy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = make_video(tmp_path / "c.mov", 20, 320, 240, "prores_ks", "yuv422p10le")
        content = path.read_bytes()
        with (
            stdin_of(content, monkeypatch),
            pytest.raises(
                InputError, match="index comes last cannot be read from a pipe: give the file"
            ),
        ):
            stream_of("-").probe()

    @pytest.mark.parametrize(
        ("stdin", "found"),
        [(None, "nothing"), (SimpleNamespace(isatty=lambda: True), "a terminal")],
    )
    def test_that_is_not_there_is_a_usage_error(
        self, stdin: object, found: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(UsageError, match=f"expected a video on stdin .* found {found}"):
            stream_of("-").probe()

    def test_refuses_a_second_look_by_the_name_of_what_needs_it(self) -> None:
        with pytest.raises(UsageError, match="--backward: reads the video a second time, but a pi"):
            stream_of("-").again("--backward")


class TestAnAddress:
    @pytest.mark.parametrize(
        "address", ["http://host/a.mp4", "HTTPS://host/a.mp4", "rtsp://host/live", "udp://@:1234"]
    )
    def test_is_refused_unless_the_network_is_allowed(self, address: str) -> None:
        with pytest.raises(UsageError, match="--allow-network reads it"):
            parse_input(address)
        assert isinstance(parse_input(address, allow_network=True), Stream)

    @pytest.mark.parametrize("address", ["file:///etc/passwd", "concat://a", "pipe://0"])
    def test_of_no_protocol_of_the_network_is_a_usage_error(self, address: str) -> None:
        with pytest.raises(UsageError, match="expected a path, or one of http://"):
            parse_input(address, allow_network=True)

    def test_is_named_without_its_secrets(self) -> None:
        stream = stream_of("https://user:secret@host/a/clip.mp4?key=secret#secret", True)
        assert str(stream) == "host/a/clip.mp4"
        assert default_output(stream).name == "clip"
        with pytest.raises(UsageError) as caught:
            parse_input("https://user:secret@host/clip.mp4?key=secret")
        assert "secret" not in str(caught.value)

    def test_is_named_without_a_password_that_has_an_at_sign(self) -> None:
        stream = stream_of("rtsp://user:pass@word@host/live", True)
        assert str(stream) == "host/live"

    @pytest.mark.parametrize("address", ["http://", "http://host", "http://h/..", "http:///"])
    def test_never_names_another_folder_than_one_here(self, address: str) -> None:
        folder = default_output(stream_of(address, True))
        assert folder.parent == Path.cwd()
        assert folder.name not in ("", ".", "..")

    def test_may_have_its_scheme_in_capitals(self, tmp_path: Path) -> None:
        make_video(tmp_path / "clip.mp4")
        with served(tmp_path) as address:
            stream = stream_of(f"{address.replace('http', 'HTTP')}/clip.mp4", True)
            assert stream.probe().width == 64

    @pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
    def test_gives_the_frames_of_the_file_that_lies_there(self, name: str, tmp_path: Path) -> None:
        path = make_video(tmp_path / name)
        with served(tmp_path) as address:
            stream = stream_of(f"{address}/{name}", True)
            assert stream.probe().width == 64
            assert_same(list(stream.frames()), list(read_frames(path)))

    def test_of_a_playlist_gives_its_parts_on_the_network_but_no_file(self, tmp_path: Path) -> None:
        make_video(tmp_path / "clip.ts")
        head, end = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n", "\n#EXT-X-ENDLIST\n"
        with served(tmp_path) as address:
            (tmp_path / "near.m3u8").write_text(f"{head}clip.ts{end}")
            assert len(list(stream_of(f"{address}/near.m3u8", True).frames())) == COUNT
            for place in (f"file://{tmp_path}/clip.ts", f"{tmp_path}/clip.ts"):
                (tmp_path / "local.m3u8").write_text(f"{head}{place}{end}")
                with pytest.raises(InputError):
                    list(stream_of(f"{address}/local.m3u8", True).frames())
            (tmp_path / "list.txt").write_text(f"ffconcat version 1.0\nfile {tmp_path}/clip.ts\n")
            with pytest.raises(InputError):
                stream_of(f"{address}/list.txt", True).probe()

    def test_that_falls_silent_is_an_input_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "SECONDS", (0.5, 0.5))
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"http://127.0.0.1:{server.getsockname()[1]}/clip.mp4"
            with pytest.raises(InputError, match="cannot be opened: nothing came in time"):
                stream_of(address, True).probe()

    def test_where_nothing_is_is_an_input_error_that_names_it(self, tmp_path: Path) -> None:
        with (
            served(tmp_path) as address,
            pytest.raises(InputError, match=r"127\.0\.0\.1:\d+/none\.mp4: cannot be opened"),
        ):
            stream_of(f"{address}/none.mp4", True).probe()


class TestACamera:
    @pytest.fixture
    def lavfi(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A camera made of a test picture, which FFmpeg draws without end."""
        device = ("lavfi", "testsrc=size=64x48:rate=25", dict[str, str]())
        monkeypatch.setattr(streams, "DEVICES", {"linux": device, sys.platform: device})

    def test_goes_on_until_it_is_stopped(self, lavfi: None) -> None:
        stream = camera(0)
        assert stream.end is not None
        assert (stream.probe().width, stream.probe().frames) == (64, None)
        found = []
        for frame in stream.frames():
            found.append(frame.index)
            if frame.index == 30:
                stream.end()
        assert found == list(range(31))

    @pytest.mark.skipif(Path("/dev/video97").exists(), reason="there is such a camera")
    def test_that_is_not_there_is_an_input_error_that_names_it(self) -> None:
        with pytest.raises(InputError, match=r"camera-97: .*cannot be opened"):
            camera(97).probe()

    def test_whose_device_this_ffmpeg_lacks_is_an_input_error(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = ("webcams", "{number}", dict[str, str]())
        monkeypatch.setattr(streams, "DEVICES", {"linux": device, sys.platform: device})
        with pytest.raises(InputError, match="this FFmpeg has no webcams"):
            camera(0).probe()


class TestAFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for index in range(COUNT):
            Image.fromarray(picture(index)).save(tmp_path / f"shot{index}.png")
        return tmp_path

    def test_has_the_rate_that_is_asked_for(self, folder: Path) -> None:
        stored = Stored(folder, Fraction(10))
        info = stored.probe()
        assert info.rate == 10
        assert info.seconds == 0.8
        times = [frame.time for frame in stored.frames(2, None, 3)]
        assert times == [Fraction(2, 10), Fraction(5, 10)]

    def test_has_the_names_of_its_files(self, folder: Path) -> None:
        names = Stored(folder).files
        assert names is not None
        assert list(names.items())[1] == ("shot1", "shot1.png")


def test_a_file_has_no_other_rate_than_its_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--fps 10: is for folders of frames, .*clip\.mp4 has"):
        Stored(make_video(tmp_path / "clip.mp4"), Fraction(10))


@pytest.mark.parametrize(
    ("text", "rate"),
    [("30", 30), ("23.976", Fraction("23.976")), ("24000/1001", Fraction(24000, 1001))],
)
def test_rates_are_exact(text: str, rate: Fraction) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    ["0", "-5", "fast", "1/0", "inf", "nan", "1e9", "25 fps", "1e99999999", f"30.{'0' * 30}x"],
)
def test_what_is_no_rate_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"--fps .*: expected frames per second"):
        parse_rate(text)
