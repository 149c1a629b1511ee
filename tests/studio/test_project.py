from pathlib import Path

import pytest

from vostool.errors import InputError, OutputError
from vostool.studio.project import FILE, Opened, Project, ProjectFile, open_project


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.touch()
    return path


def kept(opened: Opened) -> Opened:
    """Write a project as a session does, and return it."""
    opened.folder.mkdir()
    opened.project.write(opened.folder)
    return opened


def test_a_project_goes_on_after_its_video_was_moved(video: Path, tmp_path: Path) -> None:
    folder = kept(open_project(video, tmp_path / "out", {})).folder
    moved = video.rename(tmp_path / "moved.mp4")
    opened = open_project(moved, folder, {})
    assert opened.video == moved
    assert opened.project.video == str(moved.resolve())


@pytest.mark.parametrize("name", ["overlay.mp4", "cutouts", "notes.txt"])
def test_a_folder_with_something_else_in_it_is_refused(
    video: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).touch()
    with pytest.raises(OutputError, match="has something else in it; choose another -o"):
        open_project(video, tmp_path / "out", {})


def test_a_folder_with_hidden_files_alone_is_taken(video: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".DS_Store").touch()
    assert open_project(video, tmp_path / "out", {}).folder == tmp_path / "out"


def test_other_options_than_before_make_results_out_of_date(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    opened = kept(open_project(video, folder, {"size": 64}))
    opened.project.model_copy(update={"valid": 7}).write(folder)
    assert open_project(folder, None, {"size": 64}).project.valid == 7
    assert open_project(folder, None, {"size": 96}).project.valid == 0


@pytest.mark.parametrize(
    "text", ['{"video": "a", "names": {}}', '{"video": "a", "valid": -1}', "["]
)
def test_a_project_that_cannot_be_is_an_input_error_that_names_the_file(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InputError, match=f"^{tmp_path / FILE}: "):
        open_project(tmp_path, None, {})


def test_a_change_counts_once_it_is_on_disk(video: Path, tmp_path: Path) -> None:
    file = ProjectFile(Project(video=str(video)), tmp_path / "none")
    with pytest.raises(OutputError):
        file.change(valid=3)
    assert file.project.valid == 0
