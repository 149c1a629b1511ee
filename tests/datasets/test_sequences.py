from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from tests.conftest import DARK, HEIGHT, ORANGE, WIDTH, draw
from tests.datasets.making import (
    write_coco,
    write_frames_clip,
    write_photograph,
    write_video_clip,
)
from vostool.datasets.layout import clip_names
from vostool.datasets.sequences import (
    AnnotatedSequence,
    InMemory,
    keep,
    load_clips,
    load_coco,
    load_pair,
    load_photographs,
    shrink,
)
from vostool.errors import InputError, MaskError
from vostool.media.masks import write_mask
from vostool.media.video import read_frames

CPU = torch.device("cpu")


def load_clip(root: Path, short_side: int = HEIGHT) -> InMemory:
    """Return the only clip of a set."""
    (clip,) = load_clips(root, short_side)
    return keep(clip, CPU)


def shows_the_square(clip: InMemory, frame: int, tolerance: float = 12) -> bool:
    """Tell whether the labels of a frame lie where its picture is bright."""
    inside = clip.labels[frame] == 1
    red = clip.images[frame, 0].float()
    return bool(
        inside.any()
        and (red[inside].mean() - ORANGE[0]).abs() < tolerance
        and (red[~inside].mean() - DARK[0]).abs() < tolerance
    )


def write_two_frames(root: Path, video: bool) -> None:
    """Write a clip of two frames with masks, as a video or as a folder of frames."""
    if video:
        write_video_clip(root, "square", count=2)
    else:
        write_frames_clip(root, "square", [0, 1], [0, 1])


class TestClips:
    def test_of_videos_come_with_the_mask_of_every_frame(self, tmp_path: Path) -> None:
        write_video_clip(tmp_path, "square", count=4)
        clip = load_clip(tmp_path)
        assert clip.name == "square"
        assert clip.images.shape == (4, 3, HEIGHT, WIDTH)
        assert clip.labels.shape == (4, HEIGHT, WIDTH)
        assert clip.images.dtype == clip.labels.dtype == torch.uint8
        assert clip.annotated == (0, 1, 2, 3)
        assert all(shows_the_square(clip, frame) for frame in range(4))

    @pytest.mark.parametrize("size", ["", "480p"])
    def test_of_folders_of_frames_are_found_in_either_place(
        self, size: str, tmp_path: Path
    ) -> None:
        write_frames_clip(tmp_path, "square", [0, 1, 2], [0, 1, 2], size)
        clip = load_clip(tmp_path)
        assert all(shows_the_square(clip, frame) for frame in range(3))

    def test_are_read_without_the_files_that_macos_hides_in_them(self, tmp_path: Path) -> None:
        write_frames_clip(tmp_path, "square", [0, 1], [0, 1])
        for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
            (tmp_path / kind / "square" / f"._00000.{suffix}").write_bytes(b"\0")
        assert load_clip(tmp_path).annotated == (0, 1)

    def test_may_have_masks_for_some_frames_only(self, tmp_path: Path) -> None:
        write_frames_clip(tmp_path, "square", list(range(6)), [0, 2, 5])
        clip = load_clip(tmp_path)
        assert clip.annotated == (0, 2, 5)
        assert all(shows_the_square(clip, frame) for frame in clip.annotated)
        assert not clip.labels[[1, 3, 4]].any()

    def test_of_frames_numbered_in_steps_go_by_their_names(self, tmp_path: Path) -> None:
        numbers = [0, 5, 10, 15]  # YouTube-VOS keeps every fifth frame
        write_frames_clip(tmp_path, "square", numbers, numbers)
        clip = load_clip(tmp_path)
        assert clip.annotated == (0, 1, 2, 3)
        assert all(shows_the_square(clip, frame) for frame in range(4))

    def test_are_kept_at_a_small_size(self, tmp_path: Path) -> None:
        write_video_clip(tmp_path, "square", count=2)
        clip = load_clip(tmp_path, HEIGHT // 2)
        assert clip.images.shape[2:] == clip.labels.shape[1:] == (HEIGHT // 2, WIDTH // 2)
        assert all(shows_the_square(clip, frame, tolerance=25) for frame in range(2))

    def test_move_to_a_device_as_they_are(self, tmp_path: Path) -> None:
        write_frames_clip(tmp_path, "square", [0, 1], [0])
        clip = load_clip(tmp_path)
        moved = keep(clip, CPU)
        assert (moved.name, moved.annotated) == (clip.name, clip.annotated)
        assert torch.equal(moved.images, clip.images)
        assert torch.equal(moved.labels, clip.labels)

    def test_without_frames_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "Annotations" / "lost").mkdir(parents=True)
        with pytest.raises(InputError, match="no video and no folder of frames"):
            load_clip(tmp_path)

    @pytest.mark.parametrize("video", [True, False], ids=["video", "frames"])
    def test_with_a_mask_named_after_no_frame_are_refused(
        self, video: bool, tmp_path: Path
    ) -> None:
        write_two_frames(tmp_path, video)
        masks = tmp_path / "Annotations" / "square"
        (masks / "00000.png").rename(masks / "first.png")
        with pytest.raises(InputError, match=r"first\.png: mask of a frame that .*square"):
            load_clip(tmp_path)

    @pytest.mark.parametrize("video", [True, False], ids=["video", "frames"])
    def test_with_a_mask_of_another_size_are_refused(self, video: bool, tmp_path: Path) -> None:
        write_two_frames(tmp_path, video)
        write_mask(tmp_path / "Annotations" / "square" / "00001.png", np.ones((20, 10), np.uint8))
        with pytest.raises(MaskError, match=r"00001\.png: mask is 10x20"):
            load_clip(tmp_path)

    def test_with_frames_of_two_sizes_are_refused(self, tmp_path: Path) -> None:
        write_frames_clip(tmp_path, "square", [0, 1, 2], [0])
        frame = tmp_path / "JPEGImages" / "square" / "00001.jpg"
        Image.new("RGB", (30, 40)).save(frame)
        with pytest.raises(InputError, match=r"00001\.jpg: not of the size"):
            load_clip(tmp_path)

    def test_that_lie_on_disk_give_what_they_give_from_memory(self, tmp_path: Path) -> None:
        write_frames_clip(tmp_path, "square", list(range(5)), [0, 2])
        (lying,) = load_clips(tmp_path, HEIGHT)
        held = keep(lying, CPU)
        assert not isinstance(lying, InMemory)
        assert facts(lying) == facts(held) == ("square", 5, (0, 2))
        for frames in ([0, 1], [4, 2, 2], [3]):
            for one, other in zip(lying.pick(frames), held.pick(frames), strict=True):
                assert torch.equal(one, other)


def facts(sequence: AnnotatedSequence) -> tuple[str, int, tuple[int, ...]]:
    return sequence.name, sequence.length, sequence.annotated


class TestNames:
    def test_are_those_of_the_folders_of_masks(self, tmp_path: Path) -> None:
        for name in ("b", "a"):
            (tmp_path / "Annotations" / name).mkdir(parents=True)
        (tmp_path / "Annotations" / "notes.txt").touch()
        assert clip_names(tmp_path) == ["a", "b"]

    def test_may_be_listed_in_a_file_in_its_order(self, tmp_path: Path) -> None:
        split = tmp_path / "train.txt"
        split.write_text("camel\n\nbear\n")
        assert clip_names(tmp_path, Path("train.txt")) == ["camel", "bear"]

    def test_may_be_listed_by_windows_notepad(self, tmp_path: Path) -> None:
        (tmp_path / "train.txt").write_bytes("camel\r\nbear\r\n".encode("utf-8-sig"))
        assert clip_names(tmp_path, Path("train.txt")) == ["camel", "bear"]

    def test_are_not_those_of_hidden_folders(self, tmp_path: Path) -> None:
        for name in (".ipynb_checkpoints", "a"):
            (tmp_path / "Annotations" / name).mkdir(parents=True)
        assert clip_names(tmp_path) == ["a"]

    def test_may_be_listed_as_in_davis_2016(self, tmp_path: Path) -> None:
        split = tmp_path / "train.txt"
        split.write_text(
            "/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png\n"
            "/JPEGImages/480p/bear/00001.jpg /Annotations/480p/bear/00001.png\n"
            "/JPEGImages/480p/camel/00000.jpg /Annotations/480p/camel/00000.png\n"
        )
        assert clip_names(tmp_path, Path("train.txt")) == ["bear", "camel"]

    def test_that_cannot_be_had_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such list of clips"):
            clip_names(tmp_path, Path("train.txt"))
        with pytest.raises(InputError, match="expected a folder Annotations in it"):
            clip_names(tmp_path)
        (tmp_path / "Annotations").mkdir()
        with pytest.raises(InputError, match="holds no clip"):
            clip_names(tmp_path)


def photographed(root: Path, short_side: int, binary: bool = False) -> InMemory:
    """Return the only photograph of a set."""
    (photograph,) = load_photographs(root, short_side, binary)
    return keep(photograph, CPU)


class TestPhotographs:
    def test_are_sequences_of_one_frame(self, tmp_path: Path) -> None:
        root = tmp_path / "things"
        for stem, kind in (("b", ".jpg"), ("a", ".png"), ("c", ".JPEG")):
            write_photograph(root, stem, kind)
        (root / "images" / "notes.txt").touch()
        photographs = [keep(photograph, CPU) for photograph in load_photographs(root, HEIGHT)]
        assert [photograph.name for photograph in photographs] == [
            "things/a",
            "things/b",
            "things/c",
        ]
        for photograph in photographs:
            assert photograph.images.shape == (1, 3, HEIGHT, WIDTH)
            assert photograph.annotated == (0,)
            assert shows_the_square(photograph, 0)

    def test_without_a_mask_are_refused(self, tmp_path: Path) -> None:
        write_photograph(tmp_path, "a")
        (tmp_path / "masks" / "a.png").unlink()
        with pytest.raises(MaskError, match=r"a\.png: no such mask file"):
            photographed(tmp_path, HEIGHT)

    def test_are_read_without_the_files_that_macos_hides_in_them(self, tmp_path: Path) -> None:
        write_photograph(tmp_path, "a")
        (tmp_path / "images" / "._a.jpg").write_bytes(b"\0")
        assert len(list(load_photographs(tmp_path, HEIGHT))) == 1

    def test_that_are_damaged_are_refused(self, tmp_path: Path) -> None:
        write_photograph(tmp_path, "a")
        (tmp_path / "images" / "a.jpg").write_bytes(b"not a picture")
        with pytest.raises(InputError, match=r"a\.jpg"):
            photographed(tmp_path, HEIGHT)

    def test_that_are_not_there_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="holds no photograph"):
            list(load_photographs(tmp_path, HEIGHT))

    def test_of_two_tones_may_be_grey_at_the_edges(self, tmp_path: Path) -> None:
        write_photograph(tmp_path, "a")
        solid = draw(0)[1]
        grey = np.array([np.roll(solid, shift, axis=1) for shift in (-2, -1, 0, 1, 2)]).mean(axis=0)
        Image.fromarray((255 * grey).round().astype(np.uint8)).save(tmp_path / "masks" / "a.png")
        photograph = photographed(tmp_path, HEIGHT, binary=True)
        assert photograph.labels.unique().tolist() == [0, 1]
        assert torch.equal(photograph.labels[0], torch.from_numpy(solid))
        assert shows_the_square(photograph, 0)

    @pytest.mark.parametrize("binary", [False, True])
    def test_with_a_mask_of_another_size_are_refused(self, binary: bool, tmp_path: Path) -> None:
        write_photograph(tmp_path, "a")
        Image.fromarray(np.full((20, 10), 255, np.uint8)).save(tmp_path / "masks" / "a.png")
        with pytest.raises(MaskError, match=rf"a\.png: mask is 10x20, .* {WIDTH}x{HEIGHT}"):
            photographed(tmp_path, HEIGHT, binary)

    @pytest.mark.parametrize("binary", [False, True])
    def test_stand_still_when_asked_for_several_frames(self, binary: bool, tmp_path: Path) -> None:
        write_photograph(tmp_path, "a")
        if binary:
            Image.fromarray(draw(0)[1] * 255).save(tmp_path / "masks" / "a.png")
        (photograph,) = load_photographs(tmp_path, HEIGHT, binary)
        assert facts(photograph) == (f"{tmp_path.name}/a", 1, (0,))
        images, labels = photograph.pick([0, 0, 0])
        assert torch.equal(images[0], images[2])
        assert labels.shape == (3, HEIGHT, WIDTH)
        assert torch.equal(labels[0], torch.from_numpy(draw(0)[1]))
        assert torch.equal(labels[0], labels[2])


class TestCoco:
    # of pycocotools, which is older than numpy 2
    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    def test_shows_objects_that_are_large_enough_the_smaller_in_front(self, tmp_path: Path) -> None:
        write_coco(tmp_path)
        (found,) = load_coco(tmp_path, Path("some.json"), HEIGHT)
        assert facts(found) == ("coco/7", 1, (0,))
        images, labels = found.pick([0, 0])
        assert images.shape == (2, 3, HEIGHT, WIDTH)
        expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
        expected[4:44, 4:40] = 1
        expected[10:, 20:50] = 2
        # COCO's own rounding may take a row or a column more
        assert (labels[0] == expected).float().mean() > 0.93
        assert labels.unique().tolist() == [0, 1, 2]
        assert labels[0, 30, 30] == 2

    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    def test_may_lie_as_it_is_published(self, tmp_path: Path) -> None:
        write_coco(tmp_path)
        split = Path("annotations/instances_some.json")
        (tmp_path / "annotations").mkdir()
        (tmp_path / "some.json").rename(tmp_path / split)
        (found,) = load_coco(tmp_path, split, HEIGHT)
        assert found.pick([0])[0].shape == (1, 3, HEIGHT, WIDTH)

    @pytest.mark.parametrize("split", [None, Path("other.json")])
    def test_needs_to_be_told_its_file(self, split: Path | None, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="expected split to name a COCO file"):
            list(load_coco(tmp_path, split, HEIGHT))

    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("{", "cannot be read as a COCO file"),
            ("[]", "cannot be read as a COCO file"),
            ("{}", "holds no object"),
            ('{"images": [], "annotations": [], "categories": []}', "holds no object"),
        ],
    )
    def test_with_nothing_in_its_file_is_an_error(
        self, content: str, words: str, tmp_path: Path
    ) -> None:
        (tmp_path / "some.json").write_text(content)
        with pytest.raises(InputError, match=rf"some\.json: {words}"):
            list(load_coco(tmp_path, Path("some.json"), HEIGHT))


class TestShrinking:
    @pytest.mark.parametrize(
        ("size", "expected"), [((100, 200), (32, 64)), ((200, 100), (64, 32)), ((20, 30), (20, 30))]
    )
    def test_brings_the_short_side_down_and_never_up(
        self, size: tuple[int, int], expected: tuple[int, int]
    ) -> None:
        rgb = np.full((*size, 3), 77, np.uint8)
        small = shrink(rgb, 32)
        assert small.shape == (3, *expected)
        assert (small == 77).all()

    def test_leaves_a_picture_of_the_size_alone(self) -> None:
        rgb, _ = draw(3)
        assert torch.equal(shrink(rgb, HEIGHT), torch.from_numpy(rgb).permute(2, 0, 1))

    def test_makes_no_new_labels(self, tmp_path: Path) -> None:
        write_photograph(tmp_path, "a")
        labels = draw(0)[1] * 7
        labels[:5] = 2
        Image.fromarray(labels).save(tmp_path / "masks" / "a.png")
        assert photographed(tmp_path, 20).labels.unique().tolist() == [0, 2, 7]


class TestPicturesForTraining:
    def test_are_turned_as_those_of_a_folder_of_frames(self, tmp_path: Path) -> None:
        path, exif = tmp_path / "turned.png", Image.Exif()
        exif[ExifTags.Base.Orientation] = 6  # a quarter turn
        values = np.arange(8 * 12 * 3, dtype=np.uint16).reshape(8, 12, 3).astype(np.uint8)
        Image.fromarray(values).save(path, exif=exif)
        image, _ = load_pair(path, None, short_side=8)
        assert (image.permute(1, 2, 0).numpy() == next(read_frames(tmp_path)).rgb).all()

    @pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
    def test_of_16_bits_become_8_as_in_a_folder_of_frames(
        self, tmp_path: Path, suffix: str
    ) -> None:
        path = tmp_path / f"deep.{suffix}"
        Image.fromarray(np.full((8, 12), 30000, np.uint16)).save(path)
        assert (load_pair(path, None, 8)[0] == 117).all()
        assert (next(read_frames(tmp_path)).rgb == 117).all()
