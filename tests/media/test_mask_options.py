import os
from pathlib import Path

import pytest

from tests.media.making import make_video
from vostool.errors import MaskError, UsageError
from vostool.media.mask_options import MaskOption, parse_mask_options, parse_object_masks
from vostool.media.time_codes import TimeCode


class TestOptions:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("00000.png", "late_00120.png", "007.png", ".hidden.png", "notes.txt"):
            (tmp_path / name).touch()
        return tmp_path

    def test_a_mask_alone_is_for_the_first_frame(self, folder: Path) -> None:
        mask = folder / "007.png"
        assert parse_mask_options([str(mask)]) == {0: mask}
        assert parse_mask_options([str(mask)], start=30) == {30: mask}

    def test_a_number_names_the_frame(self, folder: Path) -> None:
        first, late = folder / "00000.png", folder / "007.png"
        assert parse_mask_options([f"120:{late}", str(first)]) == {0: first, 120: late}

    def test_a_folder_goes_by_the_numbers_its_names_end_in(self, folder: Path) -> None:
        masks = parse_mask_options([str(folder)])
        assert list(masks) == [0, 7, 120]
        assert masks[120].name == "late_00120.png"

    def test_for_a_folder_of_frames_the_names_must_match(self, folder: Path) -> None:
        (folder / "late_00120.png").unlink()
        masks = parse_mask_options([str(folder)], frame_names=["000", "00000", "007"])
        assert {frame: path.name for frame, path in masks.items()} == {1: "00000.png", 2: "007.png"}
        with pytest.raises(MaskError, match=r"00000\.png: there is no frame named 00000"):
            parse_mask_options([str(folder)], frame_names=["007"])

    @pytest.mark.parametrize("spec", ["missing.png", "12:missing.png"])
    def test_a_missing_mask_is_refused(self, spec: str) -> None:
        with pytest.raises(MaskError, match=r"missing\.png: no such mask file"):
            parse_mask_options([spec])

    def test_a_pipe_is_refused_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(MaskError, match="expected a mask file, found a pipe or a device"):
            parse_mask_options([str(tmp_path / "pipe.png")])

    @pytest.mark.parametrize("spec", ["n" * 300 + ".png", "12:" + "n" * 300 + ".png"])
    def test_a_name_that_no_file_can_have_is_refused(self, spec: str) -> None:
        with pytest.raises(MaskError, match=r"n\.png: no such mask file"):
            parse_mask_options([spec])

    def test_an_empty_name_is_not_the_working_directory(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)
        with pytest.raises(UsageError, match="found an empty name"):
            parse_mask_options([""])

    def test_a_number_of_thousands_of_digits_is_refused(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="expected a frame number, found one of 5000 digits"):
            parse_mask_options([f"{'9' * 5000}:{folder / '007.png'}"])

    def test_a_folder_is_read_without_what_systems_leave_in_it(self, folder: Path) -> None:
        for name in ("._00000.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"\0")
        (folder / "00003.PNG").touch()
        assert list(parse_mask_options([str(folder)])) == [0, 3, 7, 120]

    def test_two_masks_for_a_frame_are_refused(self, folder: Path) -> None:
        with pytest.raises(UsageError, match=r"frame 7 has two masks: .*007\.png and .*007\.png"):
            parse_mask_options([str(folder), f"7:{folder / '007.png'}"])

    def test_a_folder_for_one_frame_is_refused(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="found a folder"):
            parse_mask_options([f"7:{folder}"])

    def test_a_folder_without_masks_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch()
        with pytest.raises(MaskError, match="expected masks such as"):
            parse_mask_options([str(tmp_path)])

    def test_a_name_without_number_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "mask.png").touch()
        with pytest.raises(MaskError, match="ends in a frame number"):
            parse_mask_options([str(tmp_path)])


class TestObjects:
    @pytest.fixture
    def files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("cat.png", "dog.png", "late.png", "cats/00000.png", "cats/00007.png"):
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).touch()

    def test_have_masks_of_their_own_by_id(self, files: None) -> None:
        masks = parse_object_masks(["1@cat.png", "120:2@late.png", "7@dog.png"], start=3)
        assert masks == {3: {1: Path("cat.png"), 7: Path("dog.png")}, 120: {2: Path("late.png")}}

    def test_may_have_a_folder_each(self, files: None) -> None:
        masks = parse_object_masks(["2@cats", "1@dog.png"])
        assert masks == {
            0: {2: Path("cats/00000.png"), 1: Path("dog.png")},
            7: {2: Path("cats/00007.png")},
        }

    @pytest.mark.parametrize("first", [0, 1])
    def test_are_found_in_a_folder_of_folders(self, first: int, tmp_path: Path) -> None:
        for number, frames in ((first, (0, 4)), (first + 1, (4,))):
            (tmp_path / f"{number:03d}").mkdir()
            for frame in frames:
                (tmp_path / f"{number:03d}" / f"{frame:05d}.png").touch()
        one, two = (tmp_path / f"{first + n:03d}" for n in (0, 1))
        assert parse_object_masks([str(tmp_path)]) == {
            0: {1: one / "00000.png"},
            4: {1: one / "00004.png", 2: two / "00004.png"},
        }

    def test_in_folders_are_in_the_order_of_their_ids(self, tmp_path: Path) -> None:
        for id_ in (1, 2, 10):
            (tmp_path / str(id_)).mkdir()
            (tmp_path / str(id_) / "0.png").touch()
        masks = parse_object_masks([str(tmp_path)])[0]
        assert isinstance(masks, dict)
        assert list(masks) == [1, 2, 10]

    @pytest.mark.parametrize(
        ("specs", "words"),
        [
            (["1@cat.png", "1@dog.png"], "frame 0 has two masks of object 1: cat.png and dog.png"),
            (["cat.png", "1@dog.png"], "frame 0 has two masks: cat.png and dog.png; name the"),
            (["1@cat.png", "dog.png"], "frame 0 has two masks: cat.png and dog.png; name the"),
            (["0@cat.png"], "--mask 0@cat.png: expected an id from 1 to 254"),
            (["255@cat.png"], "--mask 255@cat.png: expected an id from 1 to 254"),
            (["9" * 5000 + "@cat.png"], "expected an id from 1 to 254"),
            (["3:1@cats"], "3:1@cats: expected a mask file after the frame number, found a folder"),
        ],
    )
    def test_given_wrongly_are_refused(self, specs: list[str], words: str, files: None) -> None:
        with pytest.raises(UsageError) as caught:
            parse_object_masks(specs)
        assert words in str(caught.value)

    def test_are_refused_where_one_mask_is_expected(self, files: None) -> None:
        with pytest.raises(UsageError, match=r"1@cat\.png: expected one mask of all objects here"):
            parse_mask_options(["1@cat.png"])

    @pytest.mark.parametrize(
        "text",
        [
            "m.png",
            "0:04.80:2@m.png",
            "./3@m.png",
            "./4:m.png",
            "3:m.png",
            "2@m.png",
            "3:2@a/m.png",
            "C:\\m.png",
        ],
    )
    def test_are_shown_as_they_were_given(self, text: str) -> None:
        assert str(MaskOption.parse(text)) == text


class TestTimes:
    @pytest.mark.parametrize(
        ("text", "frame", "id_", "path"),
        [
            ("0:04.8:m.png", TimeCode("0:04.8"), None, "m.png"),
            ("1:02:03:2@m.png", TimeCode("1:02:03"), 2, "m.png"),
            ("0:04:late/m.png", TimeCode("0:04"), None, "late/m.png"),
            ("12:m.png", 12, None, "m.png"),
            ("0:12.png", 0, None, "12.png"),
            ("./0:04:m.png", None, None, "./0:04:m.png"),
        ],
    )
    def test_may_name_the_frame(self, text: str, frame: object, id_: int | None, path: str) -> None:
        option = MaskOption.parse(text)
        assert (option.frame, option.id, option.path) == (frame, id_, Path(path))

    def test_become_the_numbers_of_the_frames_that_the_video_shows_then(
        self, tmp_path: Path
    ) -> None:
        video = make_video(tmp_path / "video.mp4")
        for name in ("a.png", "b.png", "c.png"):
            (tmp_path / name).touch()
        a, b, c = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
        masks = parse_mask_options([f"0:00.2:{b}", str(a), f"7:{c}"], video=video)
        assert masks == {0: a, 5: b, 7: c}

    def test_are_refused_where_no_video_is_known_and_where_they_cannot_be(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "a.png").touch()
        with pytest.raises(UsageError, match="--mask 0:04: expected the number of a frame here"):
            parse_mask_options([f"0:04:{tmp_path / 'a.png'}"])
        with pytest.raises(UsageError, match="--mask 0:61: expected seconds"):
            parse_mask_options([f"0:61:{tmp_path / 'a.png'}"], video=tmp_path / "none.mp4")
