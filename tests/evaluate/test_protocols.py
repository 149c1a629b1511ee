import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import draw
from tests.evaluate.making import COUNT, write_davis16, write_davis17, write_grey, write_youtube
from vostool.errors import InputError, UsageError
from vostool.evaluate.protocols import check_train_meta, open_benchmark


class TestDavis16:
    def test_gives_the_first_mask_and_scores_all_frames_but_the_first_and_the_last(
        self, tmp_path: Path
    ) -> None:
        root = write_davis16(tmp_path, "a", "b")
        a, b = open_benchmark("davis16", root, "val").clips
        assert (a.name, b.name) == ("a", "b")
        assert a.source == root / "videos" / "a.mp4"
        assert list(a.given) == ["00000"]
        assert list(a.truth) == [f"{index:05d}" for index in range(1, COUNT - 1)]
        assert a.objects == {1: "00001"}
        assert a.white

    def test_may_be_scored_without_its_videos(self, tmp_path: Path) -> None:
        root = write_davis16(tmp_path, "a")
        (root / "videos" / "a.mp4").unlink()
        (clip,) = open_benchmark("davis16", root, "val").clips
        assert clip.source is None

    def test_takes_a_file_for_a_split(self, tmp_path: Path) -> None:
        root = write_davis16(tmp_path / "set", "a", "b")
        (tmp_path / "mine.txt").write_text("b\n")
        (clip,) = open_benchmark("davis16", root, str(tmp_path / "mine.txt")).clips
        assert clip.name == "b"

    def test_prefers_its_own_lists_to_a_file_of_that_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = write_davis16(tmp_path / "set", "a", "b")
        monkeypatch.chdir(tmp_path)
        Path("val").write_text("b\n")
        assert len(open_benchmark("davis16", root, "val").clips) == 2

    @pytest.mark.parametrize("frame", [0, 3])
    def test_has_no_gap_in_its_truth(self, tmp_path: Path, frame: int) -> None:
        root = write_davis16(tmp_path, "a")
        (root / "Annotations" / "480p" / "a" / f"{frame:05d}.png").unlink()
        with pytest.raises(InputError, match=rf"{frame:05d}\.png: no such mask"):
            open_benchmark("davis16", root, "val")

    def test_has_the_truth_of_all_clips_or_of_none(self, tmp_path: Path) -> None:
        root = write_davis16(tmp_path, "a", "b")
        for path in sorted((root / "Annotations" / "480p" / "b").iterdir())[1:]:
            path.unlink()
        with pytest.raises(InputError, match="of some clips and not of 1 others, such as b"):
            open_benchmark("davis16", root, "val")


class TestDavis17:
    def test_has_a_mask_for_every_frame_and_a_frame_for_every_mask(self, tmp_path: Path) -> None:
        root = write_davis17(tmp_path, "a")
        frame = root / "JPEGImages" / "480p" / "a" / "00002.jpg"
        renamed = frame.rename(frame.with_stem("00099"))
        with pytest.raises(InputError, match=r"00099\.png: no such mask; the frame is there"):
            open_benchmark("davis17", root, "val")
        renamed.unlink()
        with pytest.raises(InputError, match=r"00002\.png: .* has no frame of that name"):
            open_benchmark("davis17", root, "val")

    def test_has_the_objects_up_to_the_highest_of_the_first_frame_void_left_out(
        self, tmp_path: Path
    ) -> None:
        root = write_davis17(tmp_path, "a")
        labels = draw(0)[1]
        labels[0, :4] = (3, 255, 255, 255)
        write_grey(root / "Annotations" / "480p" / "a" / "00000.png", labels)
        (clip,) = open_benchmark("davis17", root, "val").clips
        assert clip.ids == (1, 2, 3)  # as the official tool counts, though 2 is nowhere
        assert not clip.white

    def test_without_the_truth_of_later_frames_scores_nothing(self, tmp_path: Path) -> None:
        root = write_davis17(tmp_path, "a")
        for path in sorted((root / "Annotations" / "480p" / "a").glob("*.png"))[1:]:
            path.unlink()
        benchmark = open_benchmark("davis17", root, "val")
        assert not benchmark.scored
        assert benchmark.clips[0].objects == {}


@pytest.mark.parametrize("name", ["davis16", "davis17"])
def test_a_davis_clip_of_two_frames_is_refused_as_too_short_to_score(
    tmp_path: Path, name: str
) -> None:
    root = write_davis16(tmp_path, "a", "b") if name == "davis16" else write_davis17(tmp_path, "a")
    folder = root / "Annotations" / "480p" / "a"
    for path in sorted(folder.iterdir())[2:]:
        path.unlink()
    with pytest.raises(InputError, match="a: too short to score: found 2 masks"):
        open_benchmark(name, root, "val")


class TestYouTubeVos:
    def test_gives_each_object_on_its_first_frame(self, tmp_path: Path) -> None:
        root = write_youtube(tmp_path / "valid", whole_truth=False)
        (clip,) = open_benchmark("youtube-vos", tmp_path, "valid").clips
        assert {frame: given.ids for frame, given in clip.given.items()} == {
            "00000": (1,),
            "00015": (2,),
        }
        assert clip.source == root / "JPEGImages" / "a"
        assert clip.wanted is not None
        assert len(clip.wanted) == 9

    def test_scores_nothing_where_masks_show_new_objects_alone(self, tmp_path: Path) -> None:
        write_youtube(tmp_path / "valid", whole_truth=False)
        assert not open_benchmark("youtube-vos", tmp_path, "valid").scored

    def test_scores_each_object_after_its_first_frame_where_the_truth_is_there(
        self, tmp_path: Path
    ) -> None:
        write_youtube(tmp_path / "train", whole_truth=True)
        (clip,) = open_benchmark("youtube-vos", tmp_path, "train").clips
        assert next(iter(clip.truth)) == "00005"
        assert clip.objects == {1: "00005", 2: "00020"}

    def test_has_the_truth_of_all_frames_or_none(self, tmp_path: Path) -> None:
        root = write_youtube(tmp_path / "train", whole_truth=True)
        (root / "Annotations" / "a" / "00020.png").unlink()
        with pytest.raises(InputError, match=r"00020\.png: no such mask, meta\.json names it"):
            open_benchmark("youtube-vos", tmp_path, "train")

    def test_keeps_to_its_folder(self, tmp_path: Path) -> None:
        root = write_youtube(tmp_path / "valid", whole_truth=False)
        meta = (root / "meta.json").read_text().replace('"a"', '"../../mine"')
        (root / "meta.json").write_text(meta)
        with pytest.raises(InputError, match=r"meta\.json: expected names of clips, found"):
            open_benchmark("youtube-vos", tmp_path, "valid")

    def test_predicts_on_all_frames_where_they_are_at_hand(self, tmp_path: Path) -> None:
        write_youtube(tmp_path / "valid", whole_truth=False)
        frames = tmp_path / "valid_all_frames" / "JPEGImages" / "a"
        frames.mkdir(parents=True)
        (clip,) = open_benchmark("youtube-vos", tmp_path, "valid").clips
        assert clip.source == frames

    def test_tells_seen_from_unseen_by_the_categories_of_the_training_set(
        self, tmp_path: Path
    ) -> None:
        write_youtube(tmp_path / "valid", whole_truth=True)
        meta = tmp_path / "train.json"
        meta.write_text('{"videos": {"x": {"objects": {"1": {"category": "box"}}}}}')
        (clip,) = open_benchmark("youtube-vos", tmp_path, "valid", meta).clips
        assert clip.groups == {1: "seen", 2: "unseen"}

    @pytest.mark.parametrize("text", ["nonsense", "[]", "{}", '{"videos": {}}'])
    def test_refuses_a_meta_json_that_is_none(self, tmp_path: Path, text: str) -> None:
        root = write_youtube(tmp_path / "valid", whole_truth=False)
        (root / "meta.json").write_text(text)
        with pytest.raises(InputError, match=r"meta\.json"):
            open_benchmark("youtube-vos", tmp_path, "valid")

    @pytest.mark.parametrize(
        ("objects", "words"),
        [
            (["1", "2"], "videos.a.objects: "),
            ({}, "videos.a.objects: "),
            ({"1": {}}, "a: object 1: expected frames, found none"),
            ({"1": {"frames": []}}, "a: object 1: expected frames, found none"),
            ({"1": []}, "videos.a.objects.1: "),
            ({"1": {"frames": "00000"}}, "videos.a.objects.1.frames: "),
            ({"1": {"frames": [0]}}, "videos.a.objects.1.frames.0: "),
            ({"1": {"frames": ["../00000"]}}, "videos.a.objects.1.frames.0: "),
            ({"1": {"frames": ["00000"], "category": 7}}, "videos.a.objects.1.category: "),
            ({"one": {"frames": ["00000"]}}, "videos.a.objects.one"),
            ({"0": {"frames": ["00000"]}}, "videos.a.objects.0"),
            ({"999": {"frames": ["00000"]}}, "videos.a.objects.999"),
        ],
    )
    def test_a_meta_json_with_a_wrong_type_is_an_input_error_that_says_where(
        self, tmp_path: Path, objects: object, words: str
    ) -> None:
        root = write_youtube(tmp_path / "valid", whole_truth=False)
        (root / "meta.json").write_text(json.dumps({"videos": {"a": {"objects": objects}}}))
        with pytest.raises(InputError, match=r"meta\.json: ") as refusal:
            open_benchmark("youtube-vos", tmp_path, "valid")
        assert words in str(refusal.value)

    def test_objects_without_a_category_cannot_be_told_seen_from_unseen(
        self, tmp_path: Path
    ) -> None:
        root = write_youtube(tmp_path / "valid", whole_truth=False)
        meta = root / "meta.json"
        train = tmp_path / "train.json"
        train.write_text(meta.read_text())
        meta.write_text(meta.read_text().replace('"category"', '"kind"'))
        with pytest.raises(InputError, match="a: object 1: expected a category, found none"):
            open_benchmark("youtube-vos", tmp_path, "valid", train)

    def test_an_object_that_enters_on_the_last_frame_is_warned_of_as_not_scored(
        self, tmp_path: Path
    ) -> None:
        root = write_youtube(tmp_path / "train", whole_truth=True)
        meta = json.loads((root / "meta.json").read_text())
        meta["videos"]["a"]["objects"]["2"]["frames"] = ["00040"]
        (root / "meta.json").write_text(json.dumps(meta))
        benchmark = open_benchmark("youtube-vos", tmp_path, "train")
        assert benchmark.warnings == [
            "a: not scored: object 2, without an annotated frame after the first"
        ]

    def test_a_set_without_the_truth_is_not_warned_of(self, tmp_path: Path) -> None:
        write_youtube(tmp_path / "valid", whole_truth=False)
        assert open_benchmark("youtube-vos", tmp_path, "valid").warnings == []

    def test_names_the_mask_that_is_missing(self, tmp_path: Path) -> None:
        root = write_youtube(tmp_path / "valid", whole_truth=False)
        (root / "Annotations" / "a" / "00015.png").unlink()
        with pytest.raises(InputError, match=r"00015\.png: no such mask"):
            open_benchmark("youtube-vos", tmp_path, "valid")


class TestWhatIsNotThere:
    def test_is_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such folder"):
            open_benchmark("davis16", tmp_path / "none", "val")

    def test_is_a_split(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no list of the split 'test': expected .*test\.txt"):
            open_benchmark("davis16", write_davis16(tmp_path, "a"), "test")

    @pytest.mark.parametrize("content", [b"\xff\xfe\x00a", b"..\n", b"\n\n"])
    def test_is_a_list_of_clips(self, tmp_path: Path, content: bytes) -> None:
        root = write_davis16(tmp_path, "a")
        (root / "ImageSets" / "2016" / "val.txt").write_bytes(content)
        with pytest.raises(InputError, match=f"{root}"):
            open_benchmark("davis16", root, "val")

    def test_is_a_clip_s_masks(self, tmp_path: Path) -> None:
        root = write_davis16(tmp_path, "a")
        (root / "ImageSets" / "2016" / "val.txt").write_text("b\n")
        with pytest.raises(InputError, match="b: expected masks"):
            open_benchmark("davis16", root, "val")


def test_training_categories_are_for_youtube_vos_alone(tmp_path: Path) -> None:
    check_train_meta("youtube-vos", tmp_path)
    check_train_meta("davis16", None)
    with pytest.raises(UsageError, match="--train-meta"):
        check_train_meta("davis16", tmp_path)


def test_a_mask_is_read_as_it_is_stored(tmp_path: Path) -> None:
    root = write_davis17(tmp_path, "a")
    mask = root / "Annotations" / "480p" / "a" / "00000.png"
    write_grey(mask, np.full((48, 64), 7, np.uint8))
    assert open_benchmark("davis17", root, "val").clips[0].ids == tuple(range(1, 8))
