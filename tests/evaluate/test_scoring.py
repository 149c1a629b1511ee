import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import draw, wait_for
from tests.evaluate.making import (
    COUNT,
    predict_truth,
    write_davis16,
    write_davis17,
    write_grey,
    write_youtube,
)
from vostool.errors import DeviceError, InputError, MaskError
from vostool.evaluate.metrics import score_frame
from vostool.evaluate.protocols import BenchmarkClip, open_benchmark
from vostool.evaluate.scoring import Scorer, score_clip, score_clips
from vostool.files.claims import is_alive
from vostool.media.masks import write_mask
from vostool.scale.processes import without_interrupts


@pytest.fixture
def clip(tmp_path: Path) -> BenchmarkClip:
    return open_benchmark("davis17", write_davis17(tmp_path / "set", "a"), "val").clips[0]


@pytest.fixture
def folder(tmp_path: Path, clip: BenchmarkClip) -> Path:
    """Predictions that are the truth."""
    return predict_truth(tmp_path / "set", tmp_path / "predictions") / "a"


class TestScores:
    def test_of_the_truth_are_perfect(self, clip: BenchmarkClip, folder: Path) -> None:
        scores = score_clip(clip, folder)
        assert scores.frames == list(clip.truth)
        assert scores.objects[1].j == scores.objects[1].f == [1.0] * (COUNT - 2)

    def test_are_those_of_the_two_masks_of_each_frame(
        self, clip: BenchmarkClip, folder: Path
    ) -> None:
        moved = np.roll(draw(2)[1], 3, axis=1)
        write_mask(folder / "00002.png", moved)
        scores = score_clip(clip, folder).objects[1]
        (expected,) = score_frame(draw(2)[1], moved, [1])
        assert (scores.j[1], scores.f[1]) == expected
        assert 0 < scores.j[1] < 1
        assert scores.j[0] == scores.j[2] == 1

    def test_do_not_count_the_first_and_the_last_frame(
        self, clip: BenchmarkClip, folder: Path
    ) -> None:
        for index in (0, COUNT - 1):
            write_mask(folder / f"{index:05d}.png", np.zeros((48, 64), np.uint8))
        assert set(score_clip(clip, folder).objects[1].j) == {1.0}

    def test_of_an_object_missing_from_a_prediction_are_zero(
        self, clip: BenchmarkClip, folder: Path
    ) -> None:
        write_mask(folder / "00002.png", np.zeros((48, 64), np.uint8))
        scores = score_clip(clip, folder).objects[1]
        assert (scores.j[1], scores.f[1]) == (0, 0)

    def test_take_void_for_background(self, clip: BenchmarkClip, folder: Path) -> None:
        labels = draw(2)[1]
        labels[:4] = 255
        write_grey(clip.truth["00002"], labels)
        assert score_clip(clip, folder).objects[1].j[1] == 1

    @pytest.mark.parametrize("value", [1, 255])
    def test_of_davis_2016_take_1_or_255_for_the_object(self, tmp_path: Path, value: int) -> None:
        root = write_davis16(tmp_path / "set", "a")
        for index in range(COUNT):
            path = tmp_path / "made" / f"{index:05d}.png"
            path.parent.mkdir(exist_ok=True)
            write_grey(path, draw(index)[1] * np.uint8(value))
        (clip,) = open_benchmark("davis16", root, "val").clips
        assert set(score_clip(clip, tmp_path / "made").objects[1].j) == {1.0}

    def test_of_a_late_object_begin_after_its_first_frame(self, tmp_path: Path) -> None:
        root = write_youtube(tmp_path / "train", whole_truth=True)
        (clip,) = open_benchmark("youtube-vos", tmp_path, "train").clips
        scores = score_clip(clip, root / "Annotations" / "a")
        assert len(scores.objects[1].j) == 8
        assert len(scores.objects[2].j) == 5

    def test_of_several_clips_come_in_their_order_from_several_processes(
        self, tmp_path: Path
    ) -> None:
        root = write_davis17(tmp_path / "set", "b", "a")
        predictions = predict_truth(root, tmp_path / "predictions", worse=1)
        clips = open_benchmark("davis17", root, "val").clips
        together = score_clips(clips, predictions, processes=2)
        assert [scores.name for scores in together] == ["b", "a"]
        assert together == [score_clip(clip, predictions / clip.name) for clip in clips]


def test_sets_and_predictions_are_read_without_what_macos_and_windows_leave_in_them(
    tmp_path: Path,
) -> None:
    root = write_davis17(tmp_path / "set", "a")
    predictions = predict_truth(root, tmp_path / "predictions")
    listed = root / "ImageSets" / "2017" / "val.txt"
    listed.write_bytes("a\r\n".encode("utf-8-sig"))
    for folder in (root / "Annotations" / "480p" / "a", predictions / "a"):
        for name in ("._00000.png", "._99999.png", ".DS_Store", "Thumbs.db"):
            (folder / name).write_bytes(b"\0")
    (clip,) = open_benchmark("davis17", root, "val").clips
    assert clip.name == "a"
    (scores,) = score_clips([clip], predictions)
    assert scores == score_clip(clip, predictions / "a")


@pytest.mark.usefixtures("scored_here")
class TestABrokenPrediction:
    """Each is an error that names the file."""

    def test_lacks_the_folder_of_a_clip(self, clip: BenchmarkClip, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"a: no such folder"):
            score_clips([clip], tmp_path / "nowhere")

    def test_has_an_empty_folder(self, clip: BenchmarkClip, tmp_path: Path) -> None:
        (tmp_path / "empty" / "a").mkdir(parents=True)
        with pytest.raises(InputError, match=r"a: expected masks such as 00000\.png, found none"):
            score_clips([clip], tmp_path / "empty")

    def test_lacks_a_frame(self, clip: BenchmarkClip, folder: Path) -> None:
        (folder / "00002.png").unlink()
        with pytest.raises(InputError, match=r"00002\.png: no such mask$"):
            score_clips([clip], folder.parent)

    def test_lacks_several_frames(self, clip: BenchmarkClip, folder: Path) -> None:
        for index in (2, 3):
            (folder / f"{index:05d}.png").unlink()
        with pytest.raises(InputError, match=r"00002\.png: no such mask, nor 1 others"):
            score_clips([clip], folder.parent)

    def test_is_of_another_size(self, clip: BenchmarkClip, folder: Path) -> None:
        write_mask(folder / "00003.png", np.zeros((24, 64), np.uint8))
        with pytest.raises(MaskError, match=r"00003\.png: mask is 64x24, the truth 64x48"):
            score_clips([clip], folder.parent)

    @pytest.mark.parametrize("value", [2, 255])
    def test_holds_an_unknown_id(self, clip: BenchmarkClip, folder: Path, value: int) -> None:
        labels = draw(2)[1]
        labels[:2] = value
        write_grey(folder / "00002.png", labels)
        with pytest.raises(MaskError, match=rf"00002\.png: holds object {value} .*clip has 1"):
            score_clips([clip], folder.parent)

    @pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
    def test_is_no_picture(self, clip: BenchmarkClip, folder: Path, content: bytes) -> None:
        (folder / "00002.png").write_bytes(content)
        with pytest.raises(MaskError, match=r"00002\.png: cannot be read"):
            score_clips([clip], folder.parent)

    def test_is_cut_short(self, clip: BenchmarkClip, folder: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 2, (48, 64)).astype(np.uint8)
        write_mask(folder / "00002.png", noise)
        whole = (folder / "00002.png").read_bytes()
        (folder / "00002.png").write_bytes(whole[: len(whole) - 200])
        with pytest.raises(MaskError, match=r"00002\.png"):
            score_clips([clip], folder.parent)

    @pytest.mark.parametrize("value", [2, 128])
    def test_is_not_black_and_white_in_davis_2016(self, tmp_path: Path, value: int) -> None:
        root = write_davis16(tmp_path / "set16", "a")
        made = predict_truth(root, tmp_path / "made")
        labels = draw(2)[1] * np.uint8(255)
        labels[0, 0] = value
        write_grey(made / "a" / "00002.png", labels)
        clips = open_benchmark("davis16", root, "val").clips
        with pytest.raises(MaskError, match=rf"00002\.png: expected 0 and 255.*found 0, {value}"):
            score_clips(clips, made)

    def test_is_in_colours(self, clip: BenchmarkClip, folder: Path) -> None:
        colours = np.zeros((48, 64, 3), np.uint8)
        colours[:9, :, 1] = 128
        Image.fromarray(colours).save(folder / "00002.png")
        with pytest.raises(MaskError, match=r"00002\.png"):
            score_clips([clip], folder.parent)


def test_processes_that_score_never_see_an_interrupt() -> None:
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with without_interrupts():
        told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert told.strip() == "True"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_an_error_in_a_process_is_raised_by_its_name(clip: BenchmarkClip, folder: Path) -> None:
    (folder / "00002.png").write_bytes(b"no picture")
    with pytest.raises(MaskError, match=r"00002\.png: cannot be read"):
        score_clips([clip], folder.parent)


def test_a_process_that_dies_is_an_error_of_one_line(clip: BenchmarkClip, folder: Path) -> None:
    others = set(multiprocessing.active_children())
    with pytest.raises(DeviceError, match="a scoring process died"), Scorer(1) as scorer:
        scorer._pool.submit(time.sleep, 600)  # so that it dies before it comes to the clip
        scores = scorer.submit(clip, folder)
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        scores.result()


def test_processes_that_score_end_with_an_exception_at_once(
    clip: BenchmarkClip, folder: Path
) -> None:
    others = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt), Scorer(1) as scorer:
        scorer.submit(clip, folder)
        raise KeyboardInterrupt
    assert set(multiprocessing.active_children()) <= others


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_processes_that_score_end_with_a_parent_that_is_killed() -> None:
    code = (
        "import multiprocessing, os, signal, time\n"
        "from vostool.evaluate.scoring import Scorer\n"
        "if __name__ == '__main__':\n"
        "    scorer = Scorer(1)\n"
        "    scorer._pool.submit(time.sleep, 600)\n"
        "    scorer._pool.submit(time.sleep, 0)\n"
        "    print(*(each.pid for each in multiprocessing.active_children()), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    (worker,) = map(int, killed.stdout.split())
    wait_for(lambda: not is_alive(worker))
