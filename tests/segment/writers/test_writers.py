from fractions import Fraction
from pathlib import Path

import pytest

from tests.conftest import FRAMES, Footage, segmented
from vostool.media.frame import Frame
from vostool.media.video import probe, read_frames
from vostool.segment.writers import WRITERS, Source, Writer, every_output, writer_of


def source_of(video: Footage) -> Source:
    return Source(video.path, probe(video.path), objects=(1,))


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(writer: Writer, video: Footage, begin: int = 0, end: int = FRAMES) -> None:
    for frame in list(read_frames(video.path))[begin:end]:
        writer.add(segmented(frame, video.labels[frame.index]))


@pytest.mark.parametrize("name", tuple(every_output()))
class TestEveryOutput:
    @pytest.fixture
    def whole(self, name: str, video: Footage, tmp_path: Path) -> dict[str, bytes]:
        """What an undisturbed run leaves."""
        (tmp_path / "whole").mkdir()
        with writer_of(name, tmp_path / "whole", source_of(video)) as writer:
            writer.begin()
            write(writer, video)
        return content(tmp_path / "whole")

    @pytest.fixture
    def writer(self, name: str, video: Footage, tmp_path: Path) -> Writer:
        (tmp_path / "out").mkdir()
        return writer_of(name, tmp_path / "out", source_of(video))

    def stop(self, writer: Writer, video: Footage) -> None:
        with pytest.raises(KeyboardInterrupt), writer:
            writer.begin()
            write(writer, video, 0, 3)
            raise KeyboardInterrupt

    def test_that_is_finished_has_its_final_name_and_no_part(
        self, writer: Writer, video: Footage, whole: dict[str, bytes]
    ) -> None:
        assert whole
        assert not any("part" in name for name in whole)
        assert {name.split("/")[0] for name in whole} == {writer.path.name}

    def test_that_is_stopped_is_whole_or_has_part_in_its_name(
        self, writer: Writer, video: Footage, whole: dict[str, bytes]
    ) -> None:
        self.stop(writer, video)
        kept = content(writer.path.parent)
        assert kept
        assert all("part" in name or data == whole[name] for name, data in kept.items())
        assert writer.written.exists()

    def test_that_is_resumed_becomes_what_an_undisturbed_one_is(
        self, writer: Writer, video: Footage, whole: dict[str, bytes]
    ) -> None:
        self.stop(writer, video)
        again = type(writer)(writer.path.parent, writer.source, writer.variant)
        with again:
            done = again.resume(3)
            assert 0 <= done <= 3
            write(again, video, done)
        assert content(writer.path.parent) == whole

    def test_replaces_all_that_is_left_of_an_older_one_and_nothing_else(
        self, writer: Writer, video: Footage
    ) -> None:
        self.stop(writer, video)
        mine = writer.path.parent / "notes.png"
        mine.touch()
        for path in writer.replaced():
            path.unlink()
        assert list(content(writer.path.parent)) == ["notes.png"]
        with writer:
            writer.begin()
            write(writer, video)
        assert set(writer.replaced()) == {
            writer.path.parent / name for name in content(writer.path.parent) if name != "notes.png"
        }

    def test_touches_nothing_before_it_is_begun(self, writer: Writer) -> None:
        assert content(writer.path.parent) == {}
        assert writer.replaced() == []


class TestPictures:
    @pytest.mark.parametrize("name", ["masks", "cutouts"])
    def test_are_resumed_behind_the_first_that_is_missing(
        self, name: str, video: Footage, tmp_path: Path
    ) -> None:
        with WRITERS[name](tmp_path, source_of(video)) as writer:
            writer.begin()
            write(writer, video)
            (tmp_path / name / "00002.png").rename(tmp_path / name / "00002.png.part")
            assert writer.resume(5) == 2

    def test_are_named_as_their_frames(self, video: Footage, tmp_path: Path) -> None:
        names = ("shot.1", "shot.2")
        source = Source(video.path, probe(video.path), names=names, older=frozenset({"old"}))
        writer = WRITERS["masks"](tmp_path, source)
        with writer:
            writer.begin()
            rgb = next(read_frames(video.path)).rgb
            writer.add(segmented(Frame(0, Fraction(0), rgb, "shot.1"), video.labels[0]))
        assert [path.name for path in (tmp_path / "masks").iterdir()] == ["shot.1.png"]
        assert writer.resume(2) == 1
        for other in ("old.png", "logo.png", "shot.2.png.part"):
            (tmp_path / "masks" / other).touch()
        replaced = {path.name for path in writer.replaced()}
        assert replaced == {"shot.1.png", "old.png", "shot.2.png.part"}
