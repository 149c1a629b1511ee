import os
from pathlib import Path

import pytest

from vostool.errors import InputError, OutputError
from vostool.files import make_folder, read_text, write_text


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    write_text(path, "new \N{DOG}")
    assert path.read_text(encoding="utf-8") == "new \N{DOG}"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fill_the_disk(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written: No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace = Path.replace

    def replaced(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr("vostool.files.os.fsync", lambda file: done.append("fsync"))
    monkeypatch.setattr(Path, "replace", replaced)
    write_text(tmp_path / "a.txt", "new")
    assert done == ["fsync", "rename"]


def test_a_folder_may_be_there_already(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(OutputError, match="b: cannot be written"):
        make_folder(tmp_path / "a" / "b")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_is_read_with_and_without_the_mark_of_windows(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("a \N{DOG}\r\n".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "a \N{DOG}\r\n"


def test_text_of_another_encoding_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("k\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.txt: expected a list in UTF-8: invalid start byte"):
        read_text(tmp_path / "a.txt", "a list")
    with pytest.raises(OutputError, match=r"b\.txt: cannot be read: No such file or directory"):
        read_text(tmp_path / "b.txt", error=OutputError)


def test_a_pipe_is_no_text_to_wait_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(InputError, match="cannot be read: it is no file"):
        read_text(tmp_path / "a.txt")
