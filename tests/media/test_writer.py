import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.media.making import hear_clicks, make_two_sounds, make_video, picture
from vostool.errors import OutputError
from vostool.media.video import probe, read_frames
from vostool.media.writer import VideoWriter

RATE = Fraction(25)


def write(path: Path, times: list[Fraction], rate: Fraction | None = RATE) -> list[Fraction]:
    """Write a picture for each time and return the times read back."""
    with VideoWriter(path, width=64, height=48, rate=rate) as writer:
        for index, time in enumerate(times):
            writer.write(picture(index), time)
    return [frame.time for frame in read_frames(path)]


class TestPictures:
    def test_come_back_in_their_colours(self, tmp_path: Path) -> None:
        path = tmp_path / "out.mp4"
        with VideoWriter(path, width=64, height=48, rate=RATE) as writer:
            for index in range(5):
                writer.write(picture(index), index / RATE)
        for frame in read_frames(path):
            difference = np.abs(frame.rgb.astype(int) - picture(frame.index))
            assert np.median(difference) <= 2
            assert difference[:8].max() <= 6  # the flat top edge

    def test_are_tagged_for_browsers(self, tmp_path: Path) -> None:
        write(tmp_path / "out.mp4", [Fraction(0)])
        with av.open(str(tmp_path / "out.mp4")) as output:
            context = output.streams.video[0].codec_context
            assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
            assert (context.colorspace, context.color_range) == (1, 1)  # BT.709, limited
            assert (context.color_primaries, context.color_trc) == (1, 1)

    def test_are_preceded_by_the_index(self, tmp_path: Path) -> None:
        write(tmp_path / "out.mp4", [Fraction(0)])
        data = (tmp_path / "out.mp4").read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")

    def test_give_the_same_bytes_whatever_lay_in_memory_before(self, tmp_path: Path) -> None:
        # x264 with AVX-512 read it; one film in five differed
        path, random, films = tmp_path / "film.mp4", np.random.default_rng(2), set()
        noise = random.integers(0, 255, (64, 96, 3), dtype=np.uint8)
        for _ in range(50):
            # allocated and freed before each film
            [random.bytes(int(2 ** random.uniform(5, 17))) for _ in range(300)]
            with VideoWriter(path, width=96, height=64, rate=RATE) as writer:
                for index in range(9):
                    shown = np.roll(noise, index, axis=1) // 2 + np.uint8(3 * index)
                    writer.write(shown, index / RATE)
            films.add(path.read_bytes())
        assert len(films) == 1

    def test_are_encoded_in_as_many_threads_as_the_process_uses(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        path = tmp_path / "film.mp4"
        with VideoWriter(path, width=64, height=480, rate=RATE) as writer:
            writer.write(picture(0, 64, 480), Fraction(0))
        assert b" threads=3 " in path.read_bytes(), "as x264 notes there"

    @pytest.mark.parametrize("size", [(65, 49), (64, 49), (1, 1)])
    def test_of_odd_size_are_padded_by_repetition(
        self, tmp_path: Path, size: tuple[int, int]
    ) -> None:
        width, height = size
        with VideoWriter(tmp_path / "o.mp4", width=width, height=height, rate=RATE) as writer:
            writer.write(np.full((height, width, 3), (200, 100, 50), np.uint8), Fraction(0))
        rgb = next(read_frames(tmp_path / "o.mp4")).rgb
        assert rgb.shape == (height + height % 2, width + width % 2, 3)
        assert np.abs(rgb.astype(int) - (200, 100, 50)).max() <= 4

    def test_keep_their_pixel_aspect(self, tmp_path: Path) -> None:
        aspect = Fraction(16, 15)
        with VideoWriter(
            tmp_path / "o.mp4", width=64, height=48, rate=RATE, pixel_aspect=aspect
        ) as writer:
            writer.write(picture(0), Fraction(0))
        assert probe(tmp_path / "o.mp4").pixel_aspect == aspect

    def test_larger_than_an_encoder_takes_are_refused_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"are 17000x32, H\.264 has at most 16384"):
            VideoWriter(tmp_path / "o.mp4", width=17000, height=32, rate=RATE)
        assert list(tmp_path.iterdir()) == []

    def test_of_the_wrong_size_are_refused(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ValueError, match=r"shape \(48, 64, 3\) of uint8, expected \(4, 4, 3\)"),
            VideoWriter(tmp_path / "o.mp4", width=4, height=4, rate=RATE) as writer,
        ):
            writer.write(picture(0), Fraction(0))


class TestTimes:
    @pytest.mark.parametrize("rate", ["25", "30000/1001", "24000/1001", "60", "15000/1001"])
    def test_of_a_constant_rate_are_exact(self, tmp_path: Path, rate: str) -> None:
        times = [i / Fraction(rate) for i in range(6)]
        assert write(tmp_path / "o.mp4", times, Fraction(rate)) == times
        assert probe(tmp_path / "o.mp4").rate == Fraction(rate)

    def test_of_a_variable_rate_are_exact(self, tmp_path: Path) -> None:
        times = [Fraction(n, 1000) for n in (0, 33, 67, 500, 533, 1200, 3000)]
        assert write(tmp_path / "o.mp4", times) == times

    def test_are_relative_to_the_first(self, tmp_path: Path) -> None:
        assert write(tmp_path / "o.mp4", [7 + i / RATE for i in range(3)]) == [
            i / RATE for i in range(3)
        ]

    def test_always_rise(self, tmp_path: Path) -> None:
        times = write(tmp_path / "o.mp4", [Fraction(0), Fraction(1), Fraction(1), Fraction(1, 2)])
        assert times == sorted(set(times))
        assert float(times[-1]) == pytest.approx(1, abs=1e-4)

    def test_of_long_pauses_are_kept_by_repetition(self, tmp_path: Path) -> None:
        times = [Fraction(0), Fraction(1), Fraction(5000), Fraction(5001)]
        read = write(tmp_path / "o.mp4", times)
        assert set(times) < set(read)
        assert read == sorted(read)
        assert len(read) == 8

    def test_end_one_period_after_the_last_picture(self, tmp_path: Path) -> None:
        write(tmp_path / "o.mp4", [Fraction(0), Fraction(1), Fraction(3, 2)])
        assert probe(tmp_path / "o.mp4").seconds == pytest.approx(1.54)

    def test_end_after_the_last_step_if_the_rate_is_the_mean_over_a_pause(
        self, tmp_path: Path
    ) -> None:
        times = [Fraction(0), Fraction(1, 25), Fraction(60), Fraction(60) + Fraction(1, 25)]
        write(tmp_path / "pause.mp4", times, Fraction(1, 15))
        assert probe(tmp_path / "pause.mp4").seconds == pytest.approx(60.08)

    def test_end_after_the_last_step_if_the_rate_is_unknown(self, tmp_path: Path) -> None:
        write(tmp_path / "o.mp4", [Fraction(0), Fraction(1), Fraction(3, 2)], rate=None)
        assert probe(tmp_path / "o.mp4").seconds == pytest.approx(2)


def copy_with_sound(source: Path, target: Path, start: int = 0, end: int | None = None) -> float:
    """Write frames of `source` with its sound; return the time of the first."""
    with VideoWriter(target, width=64, height=48, rate=RATE, audio_from=source) as writer:
        first = None
        for frame in read_frames(source, start, end):
            first = frame.time if first is None else first
            writer.write(frame.rgb, frame.time)
    assert writer.warnings == []
    assert first is not None
    return float(first)


class TestSound:
    @pytest.mark.parametrize(
        ("name", "codec", "becomes"),
        [
            ("a.mp4", "aac", "aac"),
            ("a.mkv", "aac", "aac"),
            ("a.ts", "aac", "aac"),
            ("mp3.mp4", "libmp3lame", "mp3float"),
            ("opus.mkv", "libopus", "opus"),
            ("flac.mkv", "flac", "flac"),
            ("pcm.mov", "pcm_s16le", "aac"),
            ("ac3.mkv", "ac3", "aac"),
        ],
    )
    def test_stays_in_step(self, tmp_path: Path, name: str, codec: str, becomes: str) -> None:
        source = make_video(tmp_path / name, 50, sound=codec)
        expected = hear_clicks(source)
        assert len(expected) == 4
        output = tmp_path / "out.mp4"
        first = copy_with_sound(source, output)
        assert np.allclose(np.array(hear_clicks(output)) + first, expected, atol=0.003)
        with av.open(str(output)) as file:
            assert file.streams.audio[0].codec_context.name == becomes
            assert len(list(file.decode(audio=0))) > 20

    @pytest.mark.parametrize("codec", ["aac", "flac", "pcm_s16le"])
    def test_is_cut_with_the_pictures(self, tmp_path: Path, codec: str) -> None:
        source = make_video(tmp_path / "in.mov" if "pcm" in codec else tmp_path / "in.mkv", 50,
                            sound=codec)  # fmt: skip
        output = tmp_path / "out.mp4"
        first = copy_with_sound(source, output, 13, 40)
        assert np.allclose(np.array(hear_clicks(output)) + first, [0.75, 1.25], atol=0.003)
        with av.open(str(output)) as file:
            sound = file.streams.audio[0]
            assert sound.duration is not None and sound.time_base is not None
            assert float(sound.duration * sound.time_base) == pytest.approx(27 / 25, abs=0.1)

    def test_that_is_not_there_is_not_missed(self, tmp_path: Path) -> None:
        source = make_video(tmp_path / "silent.mp4")
        copy_with_sound(source, tmp_path / "out.mp4")
        assert not probe(tmp_path / "out.mp4").has_audio

    def test_of_a_folder_is_none(self, tmp_path: Path) -> None:
        with VideoWriter(
            tmp_path / "o.mp4", width=64, height=48, rate=RATE, audio_from=tmp_path
        ) as writer:
            writer.write(picture(0), Fraction(0))
        assert writer.warnings == []

    def test_that_cannot_be_read_is_left_out_with_a_warning(self, tmp_path: Path) -> None:
        broken = tmp_path / "broken.mp4"
        broken.write_bytes(bytes(range(256)) * 40)
        with VideoWriter(
            tmp_path / "o.mp4", width=64, height=48, rate=RATE, audio_from=broken
        ) as writer:
            writer.write(picture(0), Fraction(0))
        assert writer.warnings == [
            f"{broken}: the sound is left out: cannot be read as a video: "
            "Invalid data found when processing input"
        ]
        assert len(list(read_frames(tmp_path / "o.mp4"))) == 1

    def test_that_ends_too_early_is_left_out_with_a_warning(self, tmp_path: Path) -> None:
        source = make_video(tmp_path / "short.mp4", sound="aac")
        with VideoWriter(
            tmp_path / "o.mp4", width=64, height=48, rate=RATE, audio_from=source
        ) as writer:
            writer.write(picture(0), Fraction(60))
        assert "there is no sound after the first frame" in writer.warnings[0]


class TestSoundOfSeveralStreams:
    def clicks(self, source: Path, tmp_path: Path) -> tuple[list[float], list[str]]:
        """Return the clicks of a film made with the sound of `source`, and the warnings."""
        output = tmp_path / "out.mp4"
        with VideoWriter(output, width=64, height=48, rate=RATE, audio_from=source) as writer:
            for frame in read_frames(source):
                writer.write(frame.rgb, frame.time)
        return hear_clicks(output) if probe(output).has_audio else [], writer.warnings

    @pytest.mark.parametrize(("default", "count"), [(0, 0), (1, 4)])
    def test_is_that_flagged_as_default(self, tmp_path: Path, default: int, count: int) -> None:
        source = make_two_sounds(tmp_path / "two.mkv", default)
        clicks, warnings = self.clicks(source, tmp_path)
        assert len(clicks) == count
        assert warnings == []

    def test_is_the_next_if_the_codec_of_one_is_unknown(self, tmp_path: Path) -> None:
        source = make_two_sounds(tmp_path / "two.mov", 0, ("pcm_s16le", "aac"))
        self.forget_codec(source)
        clicks, warnings = self.clicks(source, tmp_path)
        assert len(clicks) == 4
        assert warnings == [
            f"{source}: audio stream 1 is passed over: FFmpeg has no decoder for it"
        ]

    def test_is_none_with_a_warning_if_all_codecs_are_unknown(self, tmp_path: Path) -> None:
        source = make_video(tmp_path / "unknown.mov", sound="pcm_s16le")
        self.forget_codec(source)
        clicks, warnings = self.clicks(source, tmp_path)
        assert clicks == []
        assert warnings == [f"{source}: the sound is left out: FFmpeg has no decoder for it"]

    def forget_codec(self, source: Path) -> None:
        data = source.read_bytes()
        assert data.count(b"sowt") == 1
        source.write_bytes(data.replace(b"sowt", b"what"))

    def test_stays_in_step_where_transport_streams_were_joined(self, tmp_path: Path) -> None:
        part = make_video(tmp_path / "part.ts", 50, sound="aac")
        begin = float(next(read_frames(part)).time)
        heard = [time - begin for time in hear_clicks(part)]
        joined = tmp_path / "joined.ts"
        joined.write_bytes(part.read_bytes() * 2)
        clicks, _ = self.clicks(joined, tmp_path)
        assert np.allclose(clicks, [*heard, *(2 + time for time in heard)], atol=0.03)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class TestFile:
    def test_has_its_name_only_when_done(self, tmp_path: Path) -> None:
        with VideoWriter(tmp_path / "o.mp4", width=64, height=48, rate=RATE) as writer:
            writer.write(picture(0), Fraction(0))
            assert [path.name for path in tmp_path.iterdir()] == ["o.part.mp4"]
        assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]

    @pytest.mark.parametrize("problem", [KeyboardInterrupt, RuntimeError])
    def test_plays_but_stays_a_part_when_interrupted(
        self, tmp_path: Path, problem: type[BaseException]
    ) -> None:
        with (
            pytest.raises(problem),
            VideoWriter(tmp_path / "o.mp4", width=64, height=48, rate=RATE) as writer,
        ):
            for index in range(5):
                writer.write(picture(index), index / RATE)
            raise problem
        assert [path.name for path in tmp_path.iterdir()] == ["o.part.mp4"]
        assert len(list(read_frames(tmp_path / "o.part.mp4"))) == 5

    @pytest.mark.parametrize("sound", [None, "aac"])
    def test_plays_as_far_as_it_goes_if_the_process_is_killed(
        self, tmp_path: Path, sound: str | None
    ) -> None:
        source = make_video(tmp_path / "source.mp4", 100, sound=sound)
        program = (
            "import os, sys; from pathlib import Path; from fractions import Fraction;"
            "from vostool.media.video import read_frames;"
            "from vostool.media.writer import VideoWriter;"
            "source, output = map(Path, sys.argv[1:]);"
            "writer = VideoWriter(output, width=64, height=48, rate=Fraction(25),"
            " audio_from=source);"
            "[writer.write(frame.rgb, frame.time) for frame in read_frames(source)];"
            "os.kill(os.getpid(), 9)"
        )
        output = tmp_path / "o.mp4"
        killed = subprocess.run([sys.executable, "-c", program, str(source), str(output)])
        assert killed.returncode == -signal.SIGKILL
        frames = list(read_frames(tmp_path / "o.part.mp4"))
        assert len(frames) > 60
        assert [frame.time for frame in frames] == [index / RATE for index in range(len(frames))]
        if sound:
            assert hear_clicks(tmp_path / "o.part.mp4")[:3] == pytest.approx(
                hear_clicks(source)[:3], abs=0.003
            )

    def test_is_an_ordinary_one_in_the_end(self, tmp_path: Path) -> None:
        write(tmp_path / "o.mp4", [index / RATE for index in range(50)])
        data = (tmp_path / "o.mp4").read_bytes()
        assert b"moof" not in data
        assert data.count(b"moov") == 1

    def test_is_removed_when_interrupted_before_the_first_picture(self, tmp_path: Path) -> None:
        with (
            pytest.raises(KeyboardInterrupt),
            VideoWriter(tmp_path / "o.mp4", width=64, height=48, rate=RATE),
        ):
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []

    def test_without_pictures_is_an_error(self, tmp_path: Path) -> None:
        with (
            pytest.raises(OutputError, match="got none"),
            VideoWriter(tmp_path / "o.mp4", width=64, height=48, rate=RATE),
        ):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_in_a_missing_folder_is_an_error_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "missing" / "o.mp4"
        with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
            VideoWriter(path, width=64, height=48, rate=RATE)

    def test_on_a_full_disk_is_an_error(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8)
        with (
            pytest.raises(OutputError, match=r"o\.mp4: cannot be written: File too large"),
            full_disk(20_000),
            VideoWriter(tmp_path / "o.mp4", width=64, height=48, rate=RATE) as writer,
        ):
            for index, rgb in enumerate(noise):
                writer.write(rgb, index / RATE)
        assert not (tmp_path / "o.mp4").exists()
