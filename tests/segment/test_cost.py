from pathlib import Path

import pytest

from tests.conftest import FRAMES, HEIGHT, WIDTH, Footage
from vostool.segment import cost
from vostool.segment.cost import costs
from vostool.segment.job import Job


def job(video: Path, end: int | None = None) -> Job:
    return Job(video, (), Path("out"), end=end)


def test_a_job_costs_its_frames_times_their_pixels(video: Footage, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    jobs = [job(video.path), job(video.path, end=2), job(tmp_path / "bad.mp4")]
    assert costs(jobs) == [FRAMES * HEIGHT * WIDTH, 2 * HEIGHT * WIDTH, 0.0]


def test_where_videos_take_too_long_to_open_their_files_sizes_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 0.0

    def clock() -> float:
        return seconds

    def slow(job: Job) -> float:
        nonlocal seconds
        seconds += 0.1
        return 1.0

    monkeypatch.setattr("vostool.segment.cost.time.monotonic", clock)
    monkeypatch.setattr(cost, "frames_times_pixels", slow)
    videos = [tmp_path / f"{size}.mp4" for size in range(40)]
    for size, path in enumerate(videos):
        path.write_bytes(bytes(size))
    frames = tmp_path / "frames"
    frames.mkdir()
    for name in ("a.png", "b.png"):
        (frames / name).write_bytes(bytes(100))
    found = costs([*map(job, videos), job(frames), job(tmp_path / "none.mp4")])
    assert found == [*range(40), 200.0, 0.0]
    assert seconds < 2 * cost.BUDGET  # it was soon known that it would take too long
    monkeypatch.setattr(cost, "file_size", slow)
    assert costs([job(path) for path in videos]) == [1.0] * 40
