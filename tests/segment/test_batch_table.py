import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vostool.errors import InputError, UsageError
from vostool.inference.options import ModelOptions
from vostool.media.time_codes import TimeCode
from vostool.segment.batch_table import MODEL_COLUMNS, read_batch
from vostool.segment.job import Job

PATTERN = Job(Path(), (), Path("out"))


def write_table(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


class TestTheTable:
    def test_names_videos_masks_and_ranges(self, tmp_path: Path) -> None:
        table = write_table(
            tmp_path / "t.csv",
            "video,mask,start,end,output,absent",
            "a.mp4,a.png,,,,",
            "b.mp4, b.png;7:late.png ,3,9,there,1:4-5;1:8-",
        )
        first, second = read_batch(table, PATTERN)
        assert first == replace(
            PATTERN,
            video=tmp_path / "a.mp4",
            masks=(str(tmp_path / "a.png"),),
            output=Path("out/a"),
        )
        assert second.masks == (str(tmp_path / "b.png"), f"7:{tmp_path / 'late.png'}")
        assert (second.start, second.end, second.output) == (3, 9, Path("out/there"))
        assert second.absent == ("1:4-5", "1:8-")

    def test_may_give_times_which_count_in_each_video_and_before_those_of_the_template(
        self, tmp_path: Path
    ) -> None:
        table = write_table(
            tmp_path / "t.csv", "video,mask,start,end", "a.mp4,m.png,0:02,", "b.mp4,m.png,7,0:09"
        )
        template = replace(PATTERN, start=2, end_time=TimeCode("1:00"))
        first, second = read_batch(table, template)
        assert (first.start_time, first.end_time) == (TimeCode("0:02"), TimeCode("1:00"))
        assert (second.start, second.start_time) == (7, None)
        assert (second.end, second.end_time) == (None, TimeCode("0:09"))

    @pytest.mark.parametrize(
        ("lines", "words"),
        [
            ((), "expected columns such as video,mask"),
            (("video,mask",), "a line for each video"),
            (("video,mask,colour", "a,b,red"), "found 'colour'"),
            (("video;mask", "a;b"), "with commas between them, found 'video;mask'"),
            (("video,mask", "a.mp4,"), ":2: expected a mask, found none"),
            (("mask,start", "a.png,1"), ":2: expected a video, found none"),
            (("video,mask,end", "a,b,soon"), "end soon: expected the number of a frame, from 0"),
            (("video,mask,absent", "a,b,1:5-4"), ":2: --absent 1:5-4: expected the first frame"),
            (("video,mask,start,end", "a,b,4,4"), "start 4, end 4: the range is empty"),
            (("video,mask", "a,b", "", "a,b,c"), ":4: expected 2 cells as in the header, found 3"),
            (("video,mask", "a,b,"), ":2: expected 2 cells as in the header, found 3"),
            (("video,mask,mask", "a,b,c"), ":1: expected each column once, found mask twice"),
            (("video,mask", "a.mp4,;"), ":2: expected a mask, found ;"),
            (
                ("video,mask,end", f"a,b,{'9' * 5000}"),
                ":2: end: expected a frame number, found one of 5000",
            ),
            (("video,mask", "a\0,b"), ":2: expected text, found a zero byte"),
            (("video,mask", 'a,"b'), ":2: expected a CSV table"),
            (("video,mask", f"a,{'9' * 20}:b.png"), ":2: --mask: expected a frame number"),
            (("video,mask", "nope://in/a,b"), ":2: nope://in/a: expected one that fsspec knows"),
            (("video,mask,size", "a,b,", "a,b,20"), ":3: --size 20: expected greater than"),
            (("video,mask,size", "a,b,big"), ":2: --size big: expected a valid integer"),
            (("video,mask,gc_iters", "a,b,5"), ":2: a --gc option: expected --gc-every"),
            (("video,mask,weights", "a,b,none"), ":2: weights: "),
            (("video,mask,memory", "a,b,lots"), ":2: --memory lots: expected"),
            (("video,mask,device", "a,b,cpu"), "found 'device'"),
        ],
    )
    def test_is_refused_with_its_line(
        self, tmp_path: Path, lines: tuple[str, ...], words: str
    ) -> None:
        with pytest.raises(InputError) as refusal:
            read_batch(write_table(tmp_path / "t.csv", *lines), PATTERN)
        assert words in str(refusal.value)

    def test_gives_each_video_a_place_of_its_own(self, tmp_path: Path) -> None:
        table = write_table(tmp_path / "t.csv", "video,mask", "one/a.mp4,m.png", "two/a.mp4,m.png")
        with pytest.raises(UsageError, match="would both write out/a"):
            read_batch(table, PATTERN)

    @pytest.mark.parametrize("output", ["../escaped", "a/../../b", "..", "/tmp/x", "link/x"])
    def test_keeps_every_output_within_the_folder_for_all(
        self, tmp_path: Path, output: str
    ) -> None:
        (tmp_path / "all").mkdir()
        (tmp_path / "all" / "link").symlink_to(tmp_path)
        table = write_table(
            tmp_path / "t.csv", "video,mask,output", "a.mp4,m.png,ok", f"b.mp4,m.png,{output}"
        )
        with pytest.raises(InputError, match=rf"t\.csv:3: expected an output within .*{output}"):
            read_batch(table, replace(PATTERN, output=tmp_path / "all"))

    def test_keeps_the_output_of_a_video_named_as_the_folder_above_within_too(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "sub").mkdir()
        table = write_table(tmp_path / "sub" / "t.csv", "video,mask", "..,m.png")
        assert read_batch(table, PATTERN)[0].output == Path("out") / tmp_path.name

    def test_gives_folders_of_frames_their_whole_name(self, tmp_path: Path) -> None:
        for name in ("shot.v001", "shot.v002"):
            (tmp_path / name).mkdir()
        table = write_table(
            tmp_path / "t.csv", "video,mask", "shot.v001,m.png", "shot.v002,m.png", "a.b.mp4,m.png"
        )
        outputs = [job.output for job in read_batch(table, PATTERN)]
        assert outputs == [Path("out/shot.v001"), Path("out/shot.v002"), Path("out/a.b")]

    def test_may_name_a_video_that_no_file_system_can_hold(self, tmp_path: Path) -> None:
        table = write_table(tmp_path / "t.csv", "video,mask,output", f"{'x' * 300},m.png,a")
        assert read_batch(table, PATTERN)[0].output == Path("out/a")

    def test_must_be_there_and_be_text(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be read"):
            read_batch(tmp_path / "none.csv", PATTERN)
        (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match="expected a CSV table"):
            read_batch(tmp_path / "t.csv", PATTERN)


class TestModelColumns:
    def test_are_options_of_a_model(self) -> None:
        assert set(MODEL_COLUMNS) < set(ModelOptions.model_fields)

    def test_change_the_options_of_the_command_for_their_rows_alone(self, tmp_path: Path) -> None:
        table = write_table(
            tmp_path / "t.csv",
            "video,mask,size,gc_iters,gc_memory_only",
            "a.mp4,m.png,,,",
            "b.mp4,m.png,480,,",
            "c.mp4,m.png,240,5,yes",
        )
        options = ModelOptions(device="cpu", size=320, gc_every=5)
        first, second, third = read_batch(table, PATTERN, options)
        assert first.model is None
        assert second.model == ModelOptions(device="cpu", size=480, gc_every=5)
        assert third.model == ModelOptions(
            device="cpu", size=240, gc_every=5, gc_iters=5, gc_memory_only=True
        )

    def test_of_the_same_cells_share_their_options(self, tmp_path: Path) -> None:
        lines = [f"{number}.mp4,m.png,{size}" for number, size in enumerate((320, 480, 320))]
        first, second, third = read_batch(
            write_table(tmp_path / "t.csv", "video,mask,size", *lines), PATTERN
        )
        assert first.model is third.model
        assert first.model is not second.model

    def test_find_weights_beside_the_table_or_by_their_names(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "own.safetensors").touch()
        monkeypatch.chdir("/")
        table = write_table(
            tmp_path / "t.csv",
            "video,mask,weights",
            "a.mp4,m.png,own.safetensors",
            "b.mp4,m.png,default",
        )
        first, second = read_batch(table, PATTERN)
        assert first.model == ModelOptions(weights=str(tmp_path / "own.safetensors"))
        assert second.model == ModelOptions(weights="default")


def test_a_table_of_json_lines_means_the_same_as_one_of_csv(tmp_path: Path) -> None:
    plain = write_table(
        tmp_path / "t.csv",
        "video,mask,start,end,absent,write,size",
        "a.mp4,a.png;7:b.png,2,0:09,1:4-5;1:8-,masks;cutouts,240",
    )
    row = (
        '{"video": "a.mp4", "mask": ["a.png", "7:b.png"], "start": 2, "end": "0:09", '
        '"absent": ["1:4-5", "1:8-"], "write": ["masks", "cutouts"], "size": 240.0, "top_k": null}'
    )
    lines = write_table(tmp_path / "t.jsonl", row)
    assert read_batch(lines, PATTERN) == read_batch(plain, PATTERN)


def test_a_mask_in_a_list_may_have_a_semicolon_in_its_name(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.ndjson", '{"video": "a.mp4", "mask": ["a;b.png"]}')
    assert read_batch(table, PATTERN)[0].masks == (str(tmp_path / "a;b.png"),)


def test_a_wrong_value_in_json_lines_is_refused_with_its_line(tmp_path: Path) -> None:
    good = '{"video": "a.mp4", "mask": "a.png"}'
    table = write_table(tmp_path / "t.jsonl", good, "", good.replace("}", ', "size": 20}'))
    with pytest.raises(InputError, match=r"t\.jsonl:3: --size 20: expected greater than"):
        read_batch(table, PATTERN)


def test_the_disk_is_not_asked_about_the_output_of_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    for name in ("lstat", "realpath", "scandir"):
        module = os.path if name == "realpath" else os
        before = getattr(module, name)

        def count(*given: Any, before: Any = before, **more: Any) -> Any:
            asked.append(given)
            return before(*given, **more)

        monkeypatch.setattr(module, name, count)
    (tmp_path / "all").mkdir()
    lines = [f"{number}.mp4,m.png" for number in range(200)]
    table = write_table(tmp_path / "t.csv", "video,mask", *lines)
    assert len(read_batch(table, replace(PATTERN, output=tmp_path / "all"))) == 200
    assert len(asked) < 100
