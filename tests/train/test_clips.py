import math
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.datasets.making import photograph, sequence, square_clip
from tests.train import plain_clips
from vostool.datasets.sequences import AnnotatedSequence, InMemory
from vostool.train.clips import CAMERA as CAMERA_MOTION
from vostool.train.clips import (
    MIN_OBJECT_AREA,
    Clip,
    ClipPlan,
    choose_frames,
    make_clip,
    paste,
    trajectory,
    view,
)
from vostool.train.photometric_augmentation import add_noise, blur, colour
from vostool.train.warping import Outline, affine, outlines, tilt, translation, warp

SIZE = (48, 64)
WHITE, BLUE = (255, 255, 255), (0, 0, 255)
SEEDS = range(12)


def plan_of(count: int = 1, **others: Any) -> ClipPlan:
    return ClipPlan(SIZE, **({"frames": 3, "objects": count, "max_interval": 2} | others))


def make(
    source: AnnotatedSequence, seed: int, *donors: AnnotatedSequence, count: int = 1
) -> Clip | None:
    return make_clip(source, donors, plan_of(count), Random(seed))


def made(
    source: AnnotatedSequence, *donors: AnnotatedSequence, count: int = 1, **others: Any
) -> list[Clip]:
    """Return the clips that some seeds give."""
    clips = [make_clip(source, donors, plan_of(count, **others), Random(seed)) for seed in SEEDS]
    found = [clip for clip in clips if clip is not None]
    assert len(found) > len(clips) / 2
    return found


def two_squares() -> InMemory:
    drawn = []
    for index in range(4):
        rgb, labels = np.zeros((64, 80, 3), np.uint8), np.zeros((64, 80), np.uint8)
        for id_, left in ((3, 8 + index), (8, 44 - index)):
            rgb[20:44, left : left + 24], labels[20:44, left : left + 24] = 80 * id_ % 256, id_
        drawn.append((rgb, labels))
    return sequence(*drawn)


class TestAClip:
    @pytest.mark.parametrize("source", [square_clip(), photograph()], ids=["video", "photograph"])
    def test_is_images_with_masks_of_one_object_or_another(self, source: AnnotatedSequence) -> None:
        for clip in made(source):
            assert clip.images.shape == (3, 3, *SIZE)
            assert clip.masks.shape == (3, 2, *SIZE)
            assert clip.images.min() >= 0
            assert clip.images.max() <= 1
            assert set(clip.masks.unique().tolist()) <= {0, 1}
            assert (clip.masks.sum(dim=1) == 1).all()
            assert clip.known.all()

    @pytest.mark.parametrize("source", [square_clip(), photograph()], ids=["video", "photograph"])
    def test_is_a_function_of_its_seed(self, source: AnnotatedSequence) -> None:
        for seed in SEEDS:
            one, again = (make(source, seed, photograph(BLUE)) for _ in range(2))
            if one is None or again is None:
                assert one is again is None
                continue
            assert torch.equal(one.images, again.images)
            assert torch.equal(one.masks, again.masks)
        different = made(source)
        assert not torch.equal(different[0].images, different[1].images)

    @pytest.mark.parametrize("source", [square_clip(), photograph(WHITE)], ids=["video", "still"])
    def test_moves_image_and_mask_together(self, source: AnnotatedSequence) -> None:
        for clip in made(source):
            brightness = clip.images.mean(dim=1)  # the object is the brighter part
            middle = (brightness.amax(dim=(1, 2)) + brightness.amin(dim=(1, 2))) / 2
            bright = brightness > middle[:, None, None]
            inside = clip.masks[:, 1] > 0
            edge = edges(inside)
            assert ((bright == inside) | edge).float().mean() > 0.995

    def test_shows_enough_of_every_object_on_its_first_frame(self) -> None:
        for clip in made(two_squares(), count=2):
            assert clip.masks[0, 1:].sum(dim=(1, 2)).min() >= MIN_OBJECT_AREA
        rgb, labels = np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8)
        labels[20:24, 30:34] = 1  # 16 pixels, at the largest zoom of e^0.4 still only 36
        assert all(make(sequence((rgb, labels)), seed) is None for seed in SEEDS)

    def test_of_a_photograph_has_a_moving_view(self) -> None:
        for clip in made(photograph()):
            assert not torch.equal(clip.masks[0], clip.masks[2])

    def test_has_as_many_objects_as_asked_or_is_none(self) -> None:
        for clip in made(two_squares(), count=2):
            assert clip.masks.shape[1] == 3
        assert all(make(square_clip(), seed, count=2) is None for seed in SEEDS)
        empty = sequence((np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8)))
        assert make(empty, 0) is None

    def test_takes_one_object_of_several_too(self) -> None:
        seen = set()
        for clip in made(two_squares()):
            assert clip.masks.shape[1] == 2
            inside = clip.masks[0, 1] > 0
            seen.add(bool(clip.images[0, 0][inside].mean() > 0.7))
        assert seen == {True, False}, "always the same of two objects"

    def test_may_have_the_donor_s_object_for_its_second(self) -> None:
        for clip in made(square_clip(), photograph(BLUE), count=2):
            assert clip.masks.shape[1] == 3

    def test_is_none_if_the_donor_has_nothing_to_paste(self) -> None:
        nothing = sequence((np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8)))
        for seed in SEEDS:
            clip = make(square_clip(), seed, nothing, count=2)
            assert clip is None


def edges(inside: Tensor) -> Tensor:
    """Return the pixels within two of an edge, (T, H, W)."""
    soft = torch.nn.functional.avg_pool2d(inside[:, None].float(), 5, 1, 2, count_include_pad=False)
    return ((soft > 0) & (soft < 1))[:, 0]


class TestFrames:
    def known(self, *frames: int) -> InMemory:
        clip = square_clip(20)
        return InMemory(clip.name, clip.images, clip.labels, frames or tuple(range(20)))

    @pytest.mark.parametrize("widest", [1, 3, 50])
    def test_are_within_the_interval_and_in_one_direction(self, widest: int) -> None:
        directions = set()
        for seed in range(100):
            chosen = choose_frames(
                self.known(), plan_of(frames=4, max_interval=widest), Random(seed)
            )
            steps = np.diff(chosen)
            assert len(chosen) == 4
            assert (np.sign(steps) == np.sign(steps[0])).all()
            assert np.abs(steps).max() <= widest
            assert 0 <= min(chosen) <= max(chosen) < 20
            directions.add(int(np.sign(steps[0])))
        assert directions == {1, -1}

    def test_reach_both_ends_and_every_interval(self) -> None:
        draws = [
            choose_frames(self.known(), plan_of(frames=2, max_interval=3), Random(seed))
            for seed in range(300)
        ]
        assert {0, 19} <= {frame for chosen in draws for frame in chosen}
        assert {abs(a - b) for a, b in draws} == {1, 2, 3}

    def test_are_annotated_ones(self) -> None:
        clip = self.known(0, 4, 5, 11, 12)
        for seed in range(50):
            assert set(choose_frames(clip, plan_of(max_interval=10), Random(seed))) <= {
                0,
                4,
                5,
                11,
                12,
            }

    def test_of_sparse_masks_are_as_near_as_asked(self) -> None:
        clip = self.known(*range(0, 20, 2))
        plan = plan_of(frames=2, max_interval=5)
        draws = [choose_frames(clip, plan, Random(seed)) for seed in range(200)]
        assert {abs(a - b) for a, b in draws} == {2, 4}

    def test_of_masks_rarer_than_asked_go_from_one_to_the_next(self) -> None:
        clip = self.known(0, 5, 12, 19)
        plan = plan_of(max_interval=2)
        draws = {tuple(choose_frames(clip, plan, Random(seed))) for seed in range(50)}
        assert draws == {(0, 5, 12), (5, 12, 19), (12, 5, 0), (19, 12, 5)}

    @pytest.mark.parametrize("unknown", [False, True])
    def test_never_run_backwards_where_the_plan_says_so(self, unknown: bool) -> None:
        clip = self.known(0, 5, 12, 18, 19)
        plan = plan_of(max_interval=2, backwards=False, unknown=unknown)
        draws = [choose_frames(clip, plan, Random(seed)) for seed in range(100)]
        assert all(a < b for chosen in draws for a, b in pairwise(chosen))
        assert {chosen[0] for chosen in draws} == {0, 5, 12}

    def test_without_labels_may_follow_where_the_plan_says_so(self) -> None:
        clip = self.known(0, 5, 10, 15)
        plan = plan_of(max_interval=2, unknown=True)
        draws = [choose_frames(clip, plan, Random(seed)) for seed in range(100)]
        assert {chosen[0] for chosen in draws} == {0, 5, 10, 15}
        assert {abs(a - b) for chosen in draws for a, b in pairwise(chosen)} == {1, 2}

    def test_without_labels_follow_where_too_few_have_them(self) -> None:
        for seed in range(20):
            chosen = choose_frames(self.known(7), plan_of(), Random(seed))
            assert chosen[0] == 7
            assert len(set(chosen)) == 3

    def test_stand_still_where_too_few_are_known(self) -> None:
        assert choose_frames(photograph(), plan_of(), Random(0)) == [0, 0, 0]
        middle = self.known(1)
        three = InMemory(middle.name, middle.images[:3], middle.labels[:3], middle.annotated)
        assert choose_frames(three, plan_of(), Random(0)) == [1, 1, 1]


class TestAFrameWithoutLabels:
    def test_is_marked_in_the_clip_and_the_first_is_never_one(self) -> None:
        clip = square_clip()
        sparse = InMemory(clip.name, clip.images, clip.labels, (0, 4))
        marks = {tuple(clip.known.tolist()) for clip in made(sparse, unknown=True)}
        assert len(marks) > 1
        assert all(known[0] for known in marks)
        assert not all(all(known) for known in marks)

    def test_is_not_taken_otherwise(self) -> None:
        clip = square_clip()
        sparse = InMemory(clip.name, clip.images, clip.labels, (0, 2, 4))
        for drawn in made(sparse):
            assert drawn.known.all()


class TestALateObject:
    @pytest.mark.parametrize("source", [square_clip(), two_squares()], ids=["one", "two"])
    def test_is_the_last_shows_from_the_second_frame_on_and_was_pasted(
        self, source: AnnotatedSequence
    ) -> None:
        for clip in made(source, photograph(BLUE), count=2, late_object=True):
            assert clip.masks.shape == (3, 3, *SIZE)
            assert not clip.masks[0, 2].any()
            assert clip.masks[1, 2].sum() >= MIN_OBJECT_AREA
            assert (clip.masks.sum(dim=1) == 1).all()
            if (clip.images.amax(dim=1) - clip.images.amin(dim=1)).max() < 0.01:
                continue  # a clip without colour, of which there are some
            assert blue(clip.images[0]).sum() == 0
            for image, mask in zip(clip.images[1:], clip.masks[1:, 2] > 0, strict=True):
                assert ((blue(image) == mask) | edges(mask[None])[0]).float().mean() > 0.99

    def test_is_none_of_the_clip_s_own(self) -> None:
        for seed in SEEDS:
            assert make_clip(two_squares(), [], plan_of(2, late_object=True), Random(seed)) is None

    def test_may_be_followed_by_a_distraction(self) -> None:
        donors = photograph(BLUE), photograph((255, 0, 255))
        for clip in made(square_clip(), *donors, count=2, late_object=True):
            assert clip.masks.shape[1] == 3
            assert not clip.masks[0, 2].any()
            assert clip.masks[1, 2].sum() >= MIN_OBJECT_AREA


def blue(image: Tensor) -> Tensor:
    """Return the pixels of an image (3, H, W) that are rather blue, (H, W)."""
    return (image[2] - image[:2].amax(dim=0)) > 0.3


class TestPasting:
    @pytest.fixture
    def ground(self) -> tuple[Tensor, Tensor]:
        """A grey clip with an object that fills its left half."""
        images = torch.full((3, 3, *SIZE), 0.5)
        objects = torch.zeros(3, 1, *SIZE, dtype=torch.bool)
        objects[..., : SIZE[1] // 2] = True
        return images, objects

    def pasted(self, images: Tensor) -> Tensor:
        """Tell where the donor's blue covers more than half."""
        return (images[:, 2] - images[:, 0]) > 0.5

    def test_adds_an_object_where_its_picture_is(self, ground: tuple[Tensor, Tensor]) -> None:
        for seed in SEEDS:
            images, objects = paste(*ground, photograph(BLUE), plan_of(2), Random(seed))
            assert objects.shape == (3, 2, *SIZE)
            where = self.pasted(images)
            assert ((objects[:, 1] == where) | edges(where)).all()
            assert not (objects[:, 0] & objects[:, 1]).any()

    def test_of_a_distraction_hides_the_object_behind_it(
        self, ground: tuple[Tensor, Tensor]
    ) -> None:
        hidden = 0
        for seed in SEEDS:
            images, objects = paste(*ground, photograph(BLUE), plan_of(1), Random(seed))
            assert objects.shape == (3, 1, *SIZE)
            where = self.pasted(images)
            expected = ground[1][:, 0] & ~where
            assert ((objects[:, 0] == expected) | edges(where)).all()
            hidden += int((ground[1] & ~objects).sum())
        assert hidden > 0

    def test_leaves_the_rest_of_the_picture_alone(self, ground: tuple[Tensor, Tensor]) -> None:
        images, _ = paste(*ground, photograph(BLUE), plan_of(2), Random(1))
        where = self.pasted(images)
        untouched = ~where & ~edges(where)
        assert (images.permute(0, 2, 3, 1)[untouched] == 0.5).all()

    def test_moves_on_a_path_of_its_own(self, ground: tuple[Tensor, Tensor]) -> None:
        moved = 0
        for seed in SEEDS:
            _, objects = paste(*ground, photograph(BLUE), plan_of(2), Random(seed))
            moved += not torch.equal(objects[0, 1], objects[2, 1])
        assert moved > len(SEEDS) / 2

    def test_from_a_clip_shows_the_frames_of_that_clip(self, ground: tuple[Tensor, Tensor]) -> None:
        drawn = []  # a square that doubles its side with every frame
        for half in (4, 8, 16):
            rgb, labels = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
            inside = np.s_[32 - half : 32 + half, 32 - half : 32 + half]
            rgb[inside], labels[inside] = BLUE, 1
            drawn.append((rgb, labels))
        growth = []
        for seed in SEEDS:
            images, objects = paste(*ground, sequence(*drawn), plan_of(2), Random(seed))
            where = self.pasted(images)
            assert ((objects[:, 1] == where) | edges(where)).all()
            first, *_, last = objects[:, 1].sum(dim=(1, 2)).tolist()
            growth.append((last + 1) / (first + 1))
        # the path alone changes areas to the double or half
        assert sum(ratio > 4 for ratio in growth) >= 2, "never played forwards"
        assert sum(ratio < 1 / 4 for ratio in growth) >= 2, "never played backwards"


def rough(count: int = 5, height: int = 70, width: int = 90) -> InMemory:
    """Return a sequence of noise with two objects of noisy outlines, which moves."""
    generator = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, 3, height, width), generator=generator)
    labels = torch.zeros(count, height, width)
    for frame in range(count):
        labels[frame, 20 : 20 + height // 2, 10 + frame : 50 + frame] = 3
        labels[frame, 30:60, 60:85] = 7
    labels *= torch.rand(labels.shape, generator=generator) > 0.1
    known = tuple(range(count))
    return InMemory("rough", images.to(torch.uint8), labels.to(torch.uint8), known)


class TestAgainstThePlainFormula:
    @pytest.mark.parametrize("source", [rough(), rough(1)], ids=["video", "photograph"])
    @pytest.mark.parametrize("late_object", [False, True])
    def test_clips_are_those_of_whole_frames_and_whole_layers(
        self, source: InMemory, late_object: bool
    ) -> None:
        plan = plan_of(2, late_object=late_object, noise=0.02)
        donors = (rough(4, 80, 60), rough(1, 60, 100))
        found = 0
        for seed in range(40):
            clip = make_clip(source, donors, plan, Random(seed))
            expected = plain_clips.make_clip(source, donors, plan, Random(seed))
            if clip is None or expected is None:
                assert clip is expected is None
                continue
            found += 1
            torch.testing.assert_close(clip.images, expected.images, atol=2e-3, rtol=0)
            assert (clip.masks != expected.masks).float().mean() < 1e-3, "but for ties"
            assert torch.equal(clip.known, expected.known)
        assert found > 20

    @pytest.mark.parametrize("padding", ["reflection", "zeros"])
    @pytest.mark.parametrize("mode", ["bilinear", "nearest"])
    @pytest.mark.parametrize("still", [True, False])
    def test_warping_a_part_gives_what_warping_the_whole_gives(
        self, still: bool, mode: str, padding: str
    ) -> None:
        images = rough(3).images.float() / 255
        random = Random(0)
        for _ in range(60):
            maps = torch.stack(
                [
                    translation(random.uniform(-150, 150), random.uniform(-150, 150))
                    @ affine(random.uniform(-90, 90), 5, math.exp(random.uniform(-2, 2)), -1)
                    for _ in range(3)
                ]
            )
            maps = maps[:1].expand(3, -1, -1) if still else maps
            warped = warp(images, maps, SIZE, mode, padding)
            expected = plain_clips.warp(images, maps, SIZE, mode, padding)
            different = (warped - expected).abs() > 2e-3
            assert different.float().mean() < 2e-3, "but for ties"

    def test_an_outline_is_the_mean_and_the_ends_of_an_object(self) -> None:
        inside = torch.zeros(20, 30, dtype=torch.bool)
        inside[4:8, 10:20] = inside[8, 12] = True
        outline = Outline.of(inside)
        rows, columns = inside.nonzero(as_tuple=True)
        centre = (columns.float().mean().item(), rows.float().mean().item())
        assert outline.centre == pytest.approx(centre)
        assert (outline.top, outline.bottom, outline.left, outline.right) == (4, 9, 10, 20)

    def test_outlines_are_held_per_frame_and_those_of_a_frame_are_its_own(self) -> None:
        source = rough(2)
        for frame in (0, 1, 0):
            found = outlines(source, frame, source.labels[frame])
            assert found == {id_: Outline.of(source.labels[frame] == id_) for id_ in (3, 7)}
        nothing = torch.zeros(3, 3)  # is not looked at
        assert outlines(source, 1, nothing)[3] == Outline.of(source.labels[1] == 3)


class TestMaps:
    def grid(self) -> Tensor:
        return torch.rand(1, 1, 12, 16, generator=torch.Generator().manual_seed(0))

    def test_of_nothing_change_nothing(self) -> None:
        images = self.grid()
        same = warp(images, torch.eye(3)[None], (12, 16), "bilinear")
        torch.testing.assert_close(same, images, atol=1e-5, rtol=1e-5)

    def test_of_a_shift_take_pixels_from_that_far_to_the_right_and_down(self) -> None:
        images = self.grid()
        shifted = warp(images, translation(3, 2)[None], (10, 13), "bilinear")
        torch.testing.assert_close(shifted, images[..., 2:, 3:], atol=1e-5, rtol=1e-5)

    def test_beyond_the_border_go_on_as_in_a_mirror_or_as_nothing(self) -> None:
        images = self.grid()
        mirrored = warp(images, translation(-2, 0)[None], (12, 16), "bilinear")
        torch.testing.assert_close(mirrored[..., :2], images[..., :2].flip(3), atol=1e-5, rtol=1e-5)
        nothing = warp(images, translation(-2, 0)[None], (12, 16), "bilinear", "zeros")
        assert (nothing[..., :2] == 0).all()

    @pytest.mark.parametrize("scale", [0.5, 2.0])
    def test_scale_areas_by_the_square_and_keep_them_on_turning(self, scale: float) -> None:
        for turn in (0, 30, 90):
            for mirror in (1, -1):
                matrix = affine(turn, 0, scale, mirror)[:2, :2]
                assert torch.det(matrix).item() == pytest.approx(mirror * scale**2, abs=1e-5)

    def test_turn_by_degrees(self) -> None:
        turned = affine(90, 0, 1, 1) @ torch.tensor([1.0, 0.0, 1.0])
        torch.testing.assert_close(turned, torch.tensor([0.0, 1.0, 1.0]), atol=1e-6, rtol=0)

    def test_of_a_camera_stay_within_its_range(self) -> None:
        reach = 1.1  # of the range: ends and shake
        for seed in range(30):
            for moved in trajectory(CAMERA_MOTION, SIZE, 4, Random(seed)):
                area = torch.det(moved[:2, :2]).item()
                assert abs(math.log(area) / 2) <= CAMERA_MOTION.scale * reach + 1e-5
                assert abs(moved[0, 2].item()) <= CAMERA_MOTION.shift * SIZE[1] * reach + 1e-4
                assert abs(moved[1, 2].item()) <= CAMERA_MOTION.shift * SIZE[0] * reach + 1e-4

    def test_look_at_the_object_and_not_past_the_picture(self) -> None:
        clip = square_clip()
        target = clip.labels[0] == 1
        outline, source = Outline.of(target), (target.shape[0], target.shape[1])
        for seed in range(30):
            plan = ClipPlan((32, 32))
            maps = view(outline, source, False, plan, Random(seed))
            assert torch.equal(maps[0], maps[2]), "a video moves by itself"
            shown = warp(target[None, None].float(), maps[:1], (32, 32), "nearest")
            assert shown.sum() >= MIN_OBJECT_AREA
            moving = view(outline, source, True, plan, Random(seed))
            assert not torch.equal(moving[0], moving[2]), "a photograph does not"


class TestPerspective:
    def test_a_tilt_moves_pixels_as_the_projective_formula_says(self) -> None:
        images = rough(1).images.float() / 255
        maps = (translation(45, 35) @ tilt(0.3, -0.2, SIZE) @ translation(-32, -24))[None]
        warped = warp(images, maps, SIZE, "bilinear")
        down, right = torch.meshgrid(*(torch.arange(side) + 0.5 for side in SIZE), indexing="ij")
        points = torch.stack([right, down, torch.ones_like(down)]).flatten(1)
        x, y, depth = maps[0] @ points
        height, width = images.shape[2:]
        grid = torch.stack([2 * x / depth / width - 1, 2 * y / depth / height - 1], dim=1)
        expected = torch.nn.functional.grid_sample(
            images, grid.view(1, *SIZE, 2), "bilinear", "reflection", align_corners=False
        )
        torch.testing.assert_close(warped, expected, atol=2e-3, rtol=0)

    def test_perspective_changes_photographs_and_no_videos_and_none_leaves_all_alone(self) -> None:
        plans: tuple[dict[str, Any], ...] = ({}, {"perspective": 0.0}, {"perspective": 0.3})
        for source, differs in ((photograph(), True), (square_clip(), False)):
            flat, none, tilted = (made(source, **plan) for plan in plans)
            for one, same, other in zip(flat, none, tilted, strict=True):
                assert torch.equal(one.images, same.images)
                assert torch.equal(one.masks, other.masks) is not differs


class TestMotionBlur:
    def test_no_blur_leaves_a_clip_and_the_random_numbers_alone(self) -> None:
        images, random = torch.full((2, 3, 8, 8), 0.5), Random(0)
        assert blur(images, 0, random) is images
        assert random.random() == Random(0).random()

    def test_blur_spreads_a_point_along_a_line_and_keeps_its_light(self) -> None:
        images = torch.zeros(1, 3, 41, 41)
        images[..., 20, 20] = 1
        lengths = []
        for seed in SEEDS:
            spread = blur(images, 16, Random(seed))[0, 0]
            assert spread.sum().item() == pytest.approx(1, abs=1e-4)
            rows, columns = (spread > 1e-6).nonzero(as_tuple=True)
            assert rows.float().mean().item() == pytest.approx(20, abs=0.01)
            offsets = torch.stack([rows, columns]).float() - 20
            spans = torch.linalg.svdvals(offsets) / len(rows) ** 0.5
            assert spans[1] < 1.2, "wider than a line"
            lengths.append(spans[0].item())
        assert max(lengths) > 3 * min(lengths)
        assert max(lengths) < 8

    @pytest.mark.parametrize("seed", SEEDS[:3])
    def test_blur_is_the_convolution_with_that_line_up_to_the_edges(self, seed: int) -> None:
        point = torch.zeros(1, 1, 31, 31)
        point[..., 15, 15] = 1
        line = blur(point, 16, Random(seed)).flip(2, 3)  # a convolution's kernel, seen from a pixel
        images = torch.rand(2, 3, 40, 56)
        padded = functional.pad(images.flatten(0, 1)[:, None], [15] * 4, mode="replicate")
        expected = functional.conv2d(padded, line).view_as(images)
        torch.testing.assert_close(blur(images, 16, Random(seed)), expected)

    def test_a_clip_without_blur_is_the_clip_of_a_plan_that_has_none(self) -> None:
        sharp, blurred = (
            made(square_clip(), noise=0.02, motion_blur=longest) for longest in (0.0, 12.0)
        )
        expected = made(square_clip(), noise=0.02)
        for one, other, same in zip(sharp, blurred, expected, strict=True):
            assert torch.equal(one.images, same.images)
            assert torch.equal(one.masks, other.masks)
            assert not torch.equal(one.images, other.images)


class TestNoise:
    def test_is_none_where_none_is_asked_for(self) -> None:
        images = torch.full((2, 3, 8, 8), 0.5)
        assert torch.equal(add_noise(images, 0, Random(0)), images)

    def test_is_up_to_so_strong_and_a_function_of_the_seed(self) -> None:
        images = torch.full((2, 3, 32, 32), 0.5)
        strengths = []
        for seed in SEEDS:
            noisy = add_noise(images, 0.1, Random(seed))
            assert torch.equal(noisy, add_noise(images, 0.1, Random(seed)))
            assert not torch.equal(noisy[0], noisy[1])
            strengths.append(noisy.std().item())
        assert max(strengths) <= 0.105
        assert max(strengths) > 2 * min(strengths)

    def test_stays_within_bounds(self) -> None:
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).round()
        noisy = add_noise(images, 0.5, Random(0))
        assert noisy.min() == 0
        assert noisy.max() == 1


class TestColour:
    def test_stays_within_bounds_and_keeps_shapes(self) -> None:
        images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        for seed in SEEDS:
            changed = colour(images, Random(seed), jitter=True)
            assert changed.shape == images.shape
            assert changed.min() >= 0
            assert changed.max() <= 1

    def test_is_the_same_for_all_frames_of_a_video(self) -> None:
        image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        for seed in SEEDS:
            changed = colour(image.repeat(3, 1, 1, 1), Random(seed), jitter=False)
            assert torch.equal(changed[0], changed[1])
            assert torch.equal(changed[0], changed[2])

    def test_flickers_in_a_clip_made_of_a_photograph(self) -> None:
        image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        changed = colour(image.repeat(2, 1, 1, 1), Random(0), jitter=True)
        assert not torch.equal(changed[0], changed[1])

    def test_changes_from_clip_to_clip_but_not_beyond_recognition(self) -> None:
        image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        means = [colour(image, Random(seed), jitter=False).mean().item() for seed in SEEDS]
        assert len(set(means)) == len(SEEDS)
        assert all(abs(mean / image.mean().item() - 1) < 0.25 for mean in means)
