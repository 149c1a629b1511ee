import os
from pathlib import Path

import av
import pytest

from tests.media.making import make_raw, make_two_streams, make_video
from vostool.errors import InputError
from vostool.media import container
from vostool.media.container import OPTIONS
from vostool.media.video import probe, read_frames

M3U8 = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.ts\n"
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
)
PLAYLISTS = {
    "live": M3U8,
    "closed": M3U8 + "#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile clip.ts\n",
    "sdp": SDP,
}


def test_a_video_is_decoded_in_as_many_threads_as_the_process_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "clip.mp4")
    for count in (1, 3):
        monkeypatch.setenv("OMP_NUM_THREADS", str(count))
        with container.open_media(path) as opened:
            assert container.find_video(opened, path).codec_context.thread_count == count


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ts", "list"])
def test_a_playlist_is_refused_whatever_its_name(tmp_path: Path, kind: str, name: str) -> None:
    make_video(tmp_path / "clip.ts")
    (tmp_path / name).write_text(PLAYLISTS[kind])
    for read in (probe, lambda path: next(read_frames(path))):
        with pytest.raises(InputError, match="expected a video, found a playlist"):
            read(tmp_path / name)


@pytest.mark.parametrize("kind", ["closed", "ffconcat"])
def test_no_protocol_is_open_to_a_file_even_if_its_format_were(tmp_path: Path, kind: str) -> None:
    make_video(tmp_path / "clip.ts")
    (tmp_path / "list.m3u8").write_text(PLAYLISTS[kind])
    options = {name: value for name, value in OPTIONS.items() if name != "format_whitelist"}

    def count_frames(**more: str) -> int:
        with (
            (tmp_path / "list.m3u8").open("rb") as file,
            av.open(file, "r", options={**options, **more}) as opened,
        ):
            return len(list(opened.decode(video=0)))

    assert count_frames(protocol_whitelist="file", allowed_extensions="ALL") == 8
    with pytest.raises(av.FFmpegError):
        count_frames(allowed_extensions="ALL")


def test_a_name_like_that_of_a_series_opens_no_other_file(tmp_path: Path) -> None:
    for name in ("%03d.png", "001.png", "002.png"):
        make_video(tmp_path / name, 1, codec="png", pixel_format="rgb24", options={"update": "1"})
    with pytest.raises(InputError):
        next(read_frames(tmp_path / "%03d.png"))
    assert len(list(read_frames(tmp_path / "001.png"))) == 1


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match=r"pipe\.mp4: expected a video file, found a pipe"):
        probe(tmp_path / "pipe.mp4")


def test_a_device_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="/dev/zero: expected a video file"):
        next(read_frames("/dev/zero"))


@pytest.mark.parametrize("default", [0, 1, 2])
def test_the_default_stream_is_read(tmp_path: Path, default: int) -> None:
    sizes = [(64, 48), (80, 48), (96, 48)]
    video = make_two_streams(tmp_path / "two.mkv", sizes, default)
    assert (probe(video).width, probe(video).height) == sizes[default]
    assert next(read_frames(video)).rgb.shape == (48, sizes[default][0], 3)


def test_without_a_default_the_first_stream_is_read(tmp_path: Path) -> None:
    video = make_two_streams(tmp_path / "two.mkv", [(64, 48), (80, 48)], default=-1)
    assert probe(video).width == 64


def test_an_album_cover_is_no_video(tmp_path: Path) -> None:
    video = make_two_streams(tmp_path / "cover.mp4", [(32, 32), (64, 48)], default=0, cover=True)
    assert probe(video).width == 64


def test_pictures_too_large_for_any_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video(tmp_path / "clip.mp4")
    monkeypatch.setattr(container, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(InputError, match="pictures are 64x48, expected at most 3071 pixels"):
        probe(video)


def test_an_absurd_rate_is_taken_as_25_with_a_warning(tmp_path: Path) -> None:
    video = make_raw(tmp_path / "fast.y4m", 64, 48, "yuv420p", [bytes(64 * 48 * 3 // 2)] * 3)
    video.write_bytes(video.read_bytes().replace(b" F25:1", b" F90000:1", 1))
    warnings: list[str] = []
    frames = list(read_frames(video, warnings=warnings))
    assert [float(frame.time) for frame in frames] == [0, 0.04, 0.08]
    assert warnings == [f"{video}: states 90000 frames per second, taken as 25"]
    assert probe(video).rate is None


def test_raw_dv_has_the_rate_of_its_pictures(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.dv", 2, 720, 576, "dvvideo")
    ten = tmp_path / "ten.dv"
    ten.write_bytes(clip.read_bytes() * 5)
    info = probe(ten)
    assert info.rate == 25
    assert info.frames == 10
    assert info.seconds == pytest.approx(0.4)
    assert [frame.time * 25 for frame in read_frames(ten)] == list(range(10))
