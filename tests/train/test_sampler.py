from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.datasets.making import photograph, recipe_of, square_clip, write_coco, write_library
from vostool.datasets.sequences import AnnotatedSequence, InMemory
from vostool.errors import InputError, UsageError
from vostool.train.clips import MIN_OBJECT_AREA, Clip
from vostool.train.recipe import find_recipe, read_recipe
from vostool.train.sampler import Library, draw_batch, load_library

CPU = torch.device("cpu")
BLUE = (0, 0, 255)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_library(tmp_path_factory.mktemp("data"))


def names(pool: list[AnnotatedSequence]) -> list[str]:
    return [sequence.name for sequence in pool]


def clips(root: str, **others: Any) -> dict[str, Any]:
    return {"layout": "clips", "root": root, **others}


class TestTheLibrary:
    def test_holds_clips_and_photographs_all_of_them_donors(self, data: Path) -> None:
        found = load_library(recipe_of(data), CPU)
        stills = ["photographs/a", "photographs/b"]
        assert names(found.videos) == ["one", "two"]
        assert names(found.photographs) == stills
        assert names(found.donors) == ["one", "two", *stills]
        assert found.held_out == []

    @pytest.mark.parametrize(
        ("use", "own", "donors"), [("all", 3, 1), ("clips", 3, 0), ("donors", 2, 1)]
    )
    def test_uses_a_source_for_what_it_is_meant_for(
        self, use: str, own: int, donors: int, data: Path
    ) -> None:
        sources = [clips("clips", use="clips"), clips("frames", use=use)]
        found = load_library(recipe_of(data, data=sources), CPU)
        assert len(found.videos) == own
        assert len(found.donors) == donors

    @pytest.mark.parametrize("held", [True, False])
    def test_holds_frames_in_memory_or_reads_them_as_told(self, held: bool, data: Path) -> None:
        source = clips("frames", in_memory=held)
        (clip,) = load_library(recipe_of(data, data=[source]), CPU).videos
        assert isinstance(clip, InMemory) is held
        assert clip.annotated == (0, 2, 4)

    def test_gives_the_same_clips_from_disk_as_from_memory(self, data: Path) -> None:
        drawn = []
        for held in (True, False):
            recipe = recipe_of(data, data=[clips("frames", in_memory=held)])
            drawn.append(draw_batch(load_library(recipe, CPU), recipe, 0, CPU)[0])
        assert same(*drawn)

    def test_takes_the_clips_of_a_list(self, data: Path) -> None:
        (data / "clips" / "list.txt").write_text("two\n")
        found = load_library(recipe_of(data, data=[clips("clips", split="list.txt")]), CPU)
        assert names(found.videos) == ["two"]

    def test_never_trains_on_what_is_held_out(self, data: Path) -> None:
        sources = [clips("clips"), clips("frames", in_memory=False)]
        recipe = recipe_of(data, data=sources, hold_out=["three", "two"])
        found = load_library(recipe, CPU)
        assert [clip.name for clip in found.held_out] == ["two", "three"]
        for pool in (found.videos, found.donors):
            assert names(pool) == ["one"]

    def test_reads_coco(self, tmp_path: Path) -> None:
        write_coco(tmp_path)
        source = {"layout": "coco", "root": ".", "split": "some.json", "in_memory": False}
        found = load_library(recipe_of(tmp_path, data=[source]), CPU)
        assert names(found.photographs) == ["coco/7"]

    # of pycocotools, which is older than numpy 2
    @pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    def test_of_the_paper_s_recipe_with_coco_gives_pseudo_clips_with_pasted_objects(
        self, tmp_path: Path
    ) -> None:
        root = tmp_path / "COCO"
        write_coco(root)
        (root / "some").rename(root / "train2017")
        (root / "annotations").mkdir()
        (root / "some.json").rename(root / "annotations" / "instances_train2017.json")
        changes = [f"data_root={str(tmp_path)!r}", "phases.0.size=[48, 64]", "data_short_side=48"]
        recipe = read_recipe(find_recipe("paper-coco"), changes)
        library = load_library(recipe, CPU)
        drawn = [draw_batch(library, recipe, step, CPU)[0] for step in range(8)]
        assert {clip.images.shape for clip in drawn} == {(3, 4, 3, 48, 64)}
        assert {clip.masks.shape[2] - 1 for clip in drawn} >= {1, 3}
        for clip in drawn:
            assert clip.known.all()
            assert clip.masks[0, :, 1:].flatten(2).any(dim=2).all(), "all are there from the start"
            assert not torch.equal(clip.images[0], clip.images[1])

    def test_with_nothing_to_train_on_is_an_error(self, data: Path) -> None:
        for recipe in (
            recipe_of(data, data=[clips("clips")], hold_out=["one", "two"]),
            recipe_of(data, data=[clips("clips", use="donors")]),
        ):
            with pytest.raises(InputError, match="nothing to train on"):
                load_library(recipe, CPU)

    def test_with_a_held_out_clip_that_is_not_there_is_an_error(self, data: Path) -> None:
        with pytest.raises(InputError, match="hold_out names clips that the data lacks: tow"):
            load_library(recipe_of(data, hold_out=["tow", "two"]), CPU)

    @pytest.mark.parametrize("held", [True, False])
    def test_with_a_clip_whose_masks_name_none_of_its_frames_is_an_error(
        self, held: bool, tmp_path: Path
    ) -> None:
        root = write_library(tmp_path)
        for number, path in enumerate((root / "frames" / "Annotations").rglob("*.png")):
            path.rename(path.with_name(f"mask{number}.png"))
        with pytest.raises(InputError, match=r"mask0\.png: mask of a frame"):
            load_library(recipe_of(root, data=[clips("frames", in_memory=held)]), CPU)

    def test_with_a_clip_of_one_mask_wants_the_cycle(self, tmp_path: Path) -> None:
        root = write_library(tmp_path)
        for number in (2, 4):
            (root / "frames" / "Annotations" / "three" / f"{number:05d}.png").unlink()
        frames, size = [clips("frames")], (32, 48)
        plain = recipe_of(root, data=frames, phases=[{"steps": 3, "size": size}])
        with pytest.raises(InputError, match="the clip 'three' has one mask"):
            load_library(plain, CPU)
        (clip,) = load_library(recipe_of(root, data=frames), CPU).videos
        assert clip.annotated == (0,)

    @pytest.mark.parametrize("name", ["photographs/a", "three"])
    def test_with_a_held_out_sequence_that_has_nothing_to_judge_is_an_error(
        self, name: str, tmp_path: Path
    ) -> None:
        root = write_library(tmp_path)
        (root / "frames" / "Annotations" / "three" / "00002.png").unlink()  # leaves both ends
        stills = {"layout": "photographs", "root": "photographs"}
        sources = [clips("clips"), clips("frames"), stills]
        with pytest.raises(InputError, match=name):
            load_library(recipe_of(root, data=sources, hold_out=[name]), CPU)

    def test_with_a_held_out_clip_that_begins_without_an_object_is_an_error(
        self, tmp_path: Path
    ) -> None:
        root = write_library(tmp_path)
        (root / "frames" / "Annotations" / "three" / "00000.png").unlink()
        recipe = recipe_of(root, data=[clips("clips"), clips("frames")], hold_out=["three"])
        with pytest.raises(InputError, match="the first frame of 'three' has no object"):
            load_library(recipe, CPU)


def same(one: Clip, other: Clip) -> bool:
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("images", "masks", "known")
    )


def of(clip: Clip, numbers: slice) -> Clip:
    """Return some of the clips of a batch."""
    return Clip(clip.images[:, numbers], clip.masks[:, numbers], clip.known[:, numbers])


POOLS = Library(videos=[square_clip()], photographs=[photograph()], donors=[photograph(BLUE)])


def batches(steps: int, pools: Library = POOLS, **changes: Any) -> Iterator[tuple[Clip, int, bool]]:
    recipe = recipe_of(**{"multi_object_share": 0.5, "objects": 4, **changes})
    for step in range(steps):
        yield draw_batch(pools, recipe, step, CPU)


class TestABatch:
    def test_is_a_function_of_seed_and_step(self) -> None:
        first, *others = (clip for clip, _, _ in batches(3))
        for one, again in zip((first, *others), batches(3), strict=True):
            assert same(one, again[0])
        others.append(next(batches(1, seed=1))[0])
        for other in others:
            assert not torch.equal(other.images[:, :1], first.images[:, :1])

    def test_is_of_different_clips(self) -> None:
        clip, count, _ = next(batches(1, multi_object_share=0.0))
        assert count == 4
        assert len({tuple(one.flatten().tolist()) for one in clip.images.unbind(1)}) == 4

    @pytest.mark.parametrize("team", [2, 3])
    def test_is_shared_among_processes_without_a_change(self, team: int) -> None:
        recipe = recipe_of(multi_object_share=0.0, objects=5)
        whole, count, late = draw_batch(POOLS, recipe, 3, CPU)
        for rank in range(team):
            shard = slice(rank, None, team)
            part, told, late_too = draw_batch(POOLS, recipe, 3, CPU, shard)
            assert same(part, of(whole, shard))
            assert (told, late_too) == (count, late) == (5, False)

    def test_that_is_too_small_to_share_is_an_error(self) -> None:
        with pytest.raises(UsageError, match="a step has 1 clips"):
            draw_batch(POOLS, recipe_of(), 0, CPU, slice(1, None, 2))

    @pytest.mark.parametrize(("share", "count", "objects"), [(0.0, 4, 1), (1.0, 2, 2)])
    def test_has_so_many_objects_over_all_clips(
        self, share: float, count: int, objects: int
    ) -> None:
        clip, told, _ = next(batches(1, multi_object_share=share, frames=3))
        assert told == count
        assert clip.images.shape == (3, count, 3, 32, 48)
        assert clip.masks.shape == (3, count, objects + 1, 32, 48)
        assert clip.known.shape == (3, count)
        assert (clip.masks.sum(dim=2) == 1).all()

    def test_has_up_to_so_many_objects_a_clip(self) -> None:
        drawn = list(batches(12, multi_object_share=1.0, objects=6, max_objects=3))
        assert {(clip.masks.shape[2] - 1, count) for clip, count, _ in drawn} == {(2, 3), (3, 2)}

    def test_has_so_many_clips_if_that_is_asked_for(self) -> None:
        for clip, count, _ in batches(4, clips=3):
            assert count == clip.images.shape[1] == 3

    @pytest.mark.parametrize(
        ("donors", "remedy"), [(0, 'data with use = "all" or "donors"'), (1, "set paste above 0")]
    )
    def test_that_cannot_be_drawn_is_an_error_that_says_what_to_do(
        self, donors: int, remedy: str
    ) -> None:
        library = Library(videos=[square_clip()], donors=[square_clip()] * donors)
        phases = [{"steps": 9, "size": (32, 48), "paste": 0}]
        with pytest.raises(InputError, match=f"found no clip with 2 objects in 50 draws; {remedy}"):
            next(batches(1, library, phases=phases, multi_object_share=1.0))

    @pytest.mark.parametrize(("videos", "moving"), [(1.0, False), (0.0, True)])
    def test_is_of_videos_or_photographs_as_the_phase_says(
        self, videos: float, moving: bool
    ) -> None:
        frame = square_clip(1)
        twice = InMemory(
            "still", frame.images.repeat(2, 1, 1, 1), frame.labels.repeat(2, 1, 1), (0, 1)
        )
        pools = Library(videos=[twice], photographs=[photograph()])
        phases = [{"steps": 9, "size": (32, 48), "videos": videos, "paste": 0}]
        for clip, _, _ in batches(4, pools, phases=phases, multi_object_share=0.0):
            assert torch.equal(clip.masks[0], clip.masks[1]) is not moving

    def test_has_late_objects_in_a_share_of_the_steps_with_several(self) -> None:
        told = set()
        for clip, _, late in batches(6, late_share=0.5, seed=5):
            several = clip.masks.shape[2] > 2
            told.add((several, late))
            first, second = (areas(clip.masks[frame]) for frame in (0, 1))
            if late:
                assert (first[:, -1] == 0).all()
                assert (second[:, -1] >= MIN_OBJECT_AREA).all()
                assert (first[:, :-1] >= MIN_OBJECT_AREA).all()
            else:
                assert (first >= MIN_OBJECT_AREA).all()
        assert told == {(False, False), (True, False), (True, True)}

    @pytest.mark.parametrize(("unknown", "cycle"), [(True, True), (True, False), (False, True)])
    def test_has_frames_without_labels_only_for_the_cycle(self, unknown: bool, cycle: bool) -> None:
        clip = square_clip()
        sparse = InMemory(clip.name, clip.images, clip.labels, (0, 3, 6))
        phases = [{"steps": 9, "size": (32, 48), "paste": 0, "cycle": cycle}]
        drawn = batches(
            4, Library(videos=[sparse]), phases=phases, unknown=unknown, multi_object_share=0.0
        )
        known = torch.stack([clip.known for clip, _, _ in drawn])
        assert known.all() == (not (unknown and cycle))
        assert known[:, 0].all()

    def test_has_as_many_frames_as_its_phase_says_or_else_the_recipe(self) -> None:
        still = {"size": (32, 48), "steps": 1}
        phases = [still, {**still, "frames": 4}]
        counts = [len(clip.images) for clip, _, _ in batches(2, phases=phases, frames=2)]
        assert counts == [2, 4]

    def test_a_lookalike_shows_the_object_twice_and_is_not_followed(self) -> None:
        pools = Library(videos=[square_clip()])  # of one orange square
        still = {"size": (96, 96), "steps": 9, "paste": 0}
        plain, doubled = (
            list(batches(6, pools, phases=[{**still, "lookalike": share}], multi_object_share=0.0))
            for share in (0.0, 1.0)
        )
        never = list(batches(6, pools, phases=[still], multi_object_share=0.0))
        beside = 0
        for (one, _, _), (two, _, _), (same_one, _, _) in zip(plain, doubled, never, strict=True):
            assert same(one, same_one)
            assert two.masks.shape == one.masks.shape
            bright = two.images.amax(dim=2) > 0.4  # (T, B, H, W)
            outside = (bright & (two.masks[:, :, 0] > 0)).float().mean()
            beside += int(outside > 0.02)
        assert beside >= 4

    def test_is_noisy_if_that_is_asked_for(self) -> None:
        plain, noisy = (next(batches(1, noise=noise))[0] for noise in (0.0, 0.1))
        assert torch.equal(plain.masks, noisy.masks)
        assert 0 < (plain.images - noisy.images).std() < 0.1


def areas(masks: Tensor) -> Tensor:
    """Return how much each object shows, (B, N), of masks (B, N + 1, H, W)."""
    return masks[:, 1:].sum(dim=(2, 3))
