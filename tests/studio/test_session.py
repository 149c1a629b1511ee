import csv
import json
import logging
import shlex
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import FRAMES, HEIGHT, PATIENCE, ColourNetwork, Footage
from tests.studio.conftest import Open, finished, masks_in, same
from tests.test_cli import Call, vostool  # noqa: F401
from vostool import defaults
from vostool.errors import MaskError, UsageError, WeightsError
from vostool.inference.checks import LOW
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.media.labels import LabelMap
from vostool.media.video import read_frames
from vostool.segment.job import Job
from vostool.segment.report import read_report
from vostool.segment.run import segment
from vostool.studio.engine import Engine
from vostool.studio.session import Session
from vostool.studio.view import command_of, state_of

pytestmark = pytest.mark.usefixtures("states_of_every_frame")

OTHER = 4  # a frame to repair


def only(labels: LabelMap, id_: int) -> LabelMap:
    return np.where(labels == id_, labels, np.uint8(0))


def gone_on(session: Session) -> Session:
    """Follow to the end, or where the session is stopped, and return it."""
    session.follow()
    return finished(session)


def followed(session: Session, labels: LabelMap) -> Session:
    """Follow from the labels of the first frame."""
    session.paint(0, labels)
    return gone_on(session)


def stop_at(frame: int) -> Callable[[Session], None]:
    """Return what stops a session once it has followed to a frame."""

    def changed(session: Session) -> None:
        run = session.run
        if run is None or run.total is None or run.words == "backward":
            return
        if run.total - run.done < FRAMES - frame:  # not once written, which may be at the end
            session.stop()

    return changed


@pytest.fixture
def by_command_line(
    two: Footage, options: dict[str, object], tmp_path: Path
) -> Callable[..., list[LabelMap]]:
    """Return the masks that `segment` makes of the masks painted in a session."""

    def run(session: Session, backward: bool = False, **changes: object) -> list[LabelMap]:
        folder = tmp_path / "uninterrupted"
        shutil.rmtree(folder, ignore_errors=True)
        masks = (str(session.painted.folder),)
        job = Job(two.path, masks, folder, ("masks",), backward=backward)
        segment(job, load_predictor(ModelOptions().changed({**options, **changes})))
        return masks_in(folder)

    return run


class TestFollowing:
    def test_makes_the_masks_that_the_command_line_makes(
        self, open_session: Open, two: Footage, by_command_line: Callable[..., list[LabelMap]]
    ) -> None:
        session = followed(open_session(), two.labels[0])
        assert session.runner.problem is None
        assert session.valid == session.following.frames == FRAMES
        assert session.is_complete
        assert same(masks_in(session.folder), by_command_line(session))

    def test_stopped_repaired_and_gone_on_with_equals_an_uninterrupted_run(
        self, open_session: Open, two: Footage, by_command_line: Callable[..., list[LabelMap]]
    ) -> None:
        session = open_session(changed=stop_at(5))
        session.add_object()
        followed(session, two.labels[0])
        assert 6 <= session.valid < FRAMES
        stopped_at = session.valid
        session.changed = lambda: None
        session.paint(OTHER, two.labels[OTHER])
        assert (session.valid, session.following.frames) == (OTHER, stopped_at)
        gone_on(session)
        assert session.is_complete
        assert same(masks_in(session.folder), by_command_line(session))
        report = read_report(session.folder)
        assert report is not None
        assert report.seconds.frames == FRAMES - OTHER  # nothing before the repair was redone

    def test_reports_each_frame_once_its_mask_is_on_disk(
        self, open_session: Open, two: Footage
    ) -> None:
        seen: list[int] = []
        one_at_a_time = threading.Lock()  # several threads report what is new

        def changed(session: Session) -> None:
            with one_at_a_time:
                latest = session.following.latest
                if latest is not None and latest[0] not in seen:
                    number, labels = latest
                    assert np.array_equal(masks_in(session.folder)[number], labels)
                    assert session.valid > number
                    seen.append(number)

        followed(open_session(changed=changed), two.labels[0])
        assert seen == list(range(FRAMES))

    def test_keeps_a_name_that_is_given_meanwhile(self, open_session: Open, two: Footage) -> None:
        def changed(session: Session) -> None:
            latest = session.following.latest
            if latest is not None and session.names[1] != f"seen on {latest[0]}":
                session.rename(1, f"seen on {latest[0]}")

        session = followed(open_session(changed=changed), two.labels[0])
        assert session.names[1] == f"seen on {FRAMES - 1}"
        assert open_session(session.folder).names == session.names

    def test_says_what_the_run_warns_of(self, open_session: Open, two: Footage) -> None:
        session = open_session()
        session.paint(OTHER, two.labels[OTHER] % 2)
        gone_on(session)
        (warning,) = state_of(session)["warnings"]
        assert f"the masks of {OTHER} frames before it are empty" in warning

    def test_without_anything_painted_is_refused(self, open_session: Open) -> None:
        with pytest.raises(UsageError, match="paint an object first"):
            open_session().follow()

    def test_with_other_options_begins_anew_from_what_is_painted(
        self, open_session: Open, two: Footage, by_command_line: Callable[..., list[LabelMap]]
    ) -> None:
        session = followed(open_session(), two.labels[0])
        session.choose(size=32)
        assert session.valid == 0
        gone_on(session)
        assert session.runner.problem is None
        assert same(masks_in(session.folder), by_command_line(session, size=32))

    def test_again_after_undo_and_redo_finds_that_nothing_is_left_to_do(
        self, open_session: Open, two: Footage
    ) -> None:
        session = followed(open_session(), two.labels[0])
        session.undo()
        assert session.valid == 0
        session.redo()
        before = (session.folder / "run.json").read_bytes()
        gone_on(session)
        assert session.is_complete
        assert (session.folder / "run.json").read_bytes() == before

    def test_reports_what_goes_wrong_and_can_be_tried_again(
        self, open_session: Open, two: Footage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = open_session()
        session.paint(0, two.labels[0])
        before = Engine.load

        def fail(self: Engine, options: ModelOptions) -> None:
            raise WeightsError("no such weights")

        monkeypatch.setattr(Engine, "load", fail)
        gone_on(session)
        assert session.runner.problem == "no such weights"
        monkeypatch.setattr(Engine, "load", before)
        gone_on(session)
        assert session.runner.problem is None
        assert session.is_complete

    def test_reports_an_internal_error_with_its_traceback_in_the_log(
        self,
        open_session: Open,
        two: Footage,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def fail(self: Engine, options: ModelOptions) -> None:
            raise RuntimeError("a bug")

        session = open_session()
        session.paint(0, two.labels[0])
        monkeypatch.setattr(Engine, "load", fail)
        with caplog.at_level(logging.ERROR):
            session.follow()
            finished(session)
        assert session.runner.problem == "internal error: RuntimeError: a bug"
        assert "Traceback" in caplog.text


class TestFollowingBackward:
    def test_makes_the_masks_that_the_command_line_makes(
        self, open_session: Open, two: Footage, by_command_line: Callable[..., list[LabelMap]]
    ) -> None:
        session = open_session()
        session.paint(OTHER, only(two.labels[OTHER], 1))
        session.choose(backward=True)
        gone_on(session)
        assert session.runner.problem is None
        assert session.is_complete
        assert any(mask.any() for mask in masks_in(session.folder)[:OTHER])
        assert same(masks_in(session.folder), by_command_line(session, backward=True))
        assert "--backward" in str(command_of(session))

    def test_makes_every_result_depend_on_whatever_is_painted(
        self, open_session: Open, two: Footage, by_command_line: Callable[..., list[LabelMap]]
    ) -> None:
        session = open_session()
        session.choose(backward=True)
        followed(session, two.labels[0])
        session.paint(OTHER, only(two.labels[OTHER], 1))
        assert session.valid == 0
        gone_on(session)
        assert same(masks_in(session.folder), by_command_line(session, backward=True))

    def test_goes_on_where_it_was_stopped_and_is_kept_in_the_project(
        self, open_session: Open, two: Footage, by_command_line: Callable[..., list[LabelMap]]
    ) -> None:
        def changed(session: Session) -> None:
            if session.run is not None and session.run.words == "backward" and session.run.done > 2:
                session.stop()

        session = open_session(changed=changed)
        session.paint(OTHER, only(two.labels[OTHER], 1))
        session.choose(backward=True)
        gone_on(session)
        assert (session.valid, session.runner.problem) == (0, None)
        session.close()
        again = open_session(session.folder)
        assert again.backward
        gone_on(again)
        assert same(masks_in(session.folder), by_command_line(session, backward=True))

    def test_saves_without_following_again_and_only_once_all_is_followed(
        self, open_session: Open, two: Footage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = open_session(changed=stop_at(5))
        session.paint(OTHER, only(two.labels[OTHER], 1))
        session.choose(backward=True)
        gone_on(session)
        assert 0 < session.valid < FRAMES
        with pytest.raises(UsageError, match="expected every frame followed"):
            session.save(["overlay"])
        session.changed = lambda: None
        gone_on(session)
        followed_again: list[int] = []
        monkeypatch.setattr(
            "vostool.segment.run.follow_backward", lambda *_: followed_again.append(1)
        )
        session.save(["overlay"])
        finished(session)
        assert session.runner.problem is None
        assert [Path(path).name for path in session.saved] == ["masks", "overlay.mp4"]
        assert followed_again == []


class TestDoubtfulFrames:
    @pytest.fixture(autouse=True)
    def check_every_frame(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(defaults, "CHECK_EVERY", 1)

    def test_are_marked_as_segment_finds_them(self, open_session: Open, two: Footage) -> None:
        session = followed(open_session(), two.labels[0])
        rows = csv.DictReader((session.folder / "check.csv").read_text().splitlines())
        scores = [(int(row["frame"]), float(row["confidence"])) for row in rows]
        expected = [(frame, score) for frame, score in scores if score < LOW]
        assert expected  # the network is not trained
        assert doubtful(session) == expected
        assert doubtful(open_session(session.folder)) == expected

    def test_are_not_marked_any_more_from_a_repair_on(
        self, open_session: Open, two: Footage
    ) -> None:
        session = followed(open_session(), two.labels[0])
        before = doubtful(session)
        session.paint(OTHER, two.labels[OTHER] % 2)
        assert doubtful(session) == [mark for mark in before if mark[0] < OTHER]
        assert session.painted.frames == [0, OTHER]
        gone_on(session)
        assert OTHER not in dict(doubtful(session))  # what is painted is not in doubt


def doubtful(session: Session) -> list[tuple[int, float]]:
    """Return the marks of doubtful frames, and their scores."""
    marks = state_of(session)["marks"]
    return [(mark["frame"], mark["confidence"]) for mark in marks if mark["kind"] == "doubtful"]


class TestPainting:
    def test_is_refused_while_something_runs(
        self, open_session: Open, two: Footage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = open_session()
        session.paint(0, two.labels[0])
        before = Engine.load

        refused = threading.Event()

        def load(self: Engine, options: ModelOptions) -> object:
            refused.wait(PATIENCE)
            return before(self, options)

        monkeypatch.setattr(Engine, "load", load)
        session.follow()
        for call in (
            session.follow,
            session.undo,
            session.redo,
            session.add_object,
            lambda: session.paint(0, two.labels[1]),
            lambda: session.clear(0),
            lambda: session.snap(0, 1),
            lambda: session.cut(0, 1, (1, 1, 9, 9)),
            lambda: session.choose(size=32),
            lambda: session.save(["overlay"]),
        ):
            with pytest.raises(UsageError, match=r"busy \(follow\)|follow an object first"):
                call()
        refused.set()
        finished(session)

    def test_an_object_away_keeps_it_away_on_that_frame(
        self, open_session: Open, two: Footage
    ) -> None:
        session = open_session()
        session.add_object()
        session.paint(3, two.labels[3])
        gone_on(session)
        shown = session.labels(OTHER)
        id_ = int(shown.max())
        assert id_ > 0
        session.paint(OTHER, np.where(shown == id_, np.uint8(0), shown))
        gone_on(session)
        assert id_ not in masks_in(session.folder)[OTHER]

    def test_an_object_that_is_not_known_is_refused(self, open_session: Open, two: Footage) -> None:
        with pytest.raises(MaskError, match=r"expected objects \[1\], found \[2\]"):
            open_session().paint(4, two.labels[4])

    @pytest.mark.parametrize("id_", [2, 0, -1, 255, 300, 2**40])
    def test_a_shape_of_an_object_that_is_not_known_is_refused(
        self, open_session: Open, id_: int
    ) -> None:
        session = open_session()
        with pytest.raises(MaskError, match=rf"expected objects \[1\], found \[{id_}\]"):
            session.fill(0, id_, [(1, 1), (9, 1), (9, 9)])
        with pytest.raises(MaskError, match=rf"expected objects \[1\], found \[{id_}\]"):
            session.cut(0, id_, (1, 23, 22, 22))

    def test_a_polygon_out_of_the_frame_is_refused(self, open_session: Open) -> None:
        with pytest.raises(UsageError, match=r"polygon: 1e\+300,1 lies out of the frame"):
            open_session().fill(0, 1, [(1, 1), (1e300, 1), (9, 9)])

    def test_a_frame_that_is_not_there_is_refused(self, open_session: Open) -> None:
        session = open_session()
        for frame in (-1, FRAMES):
            with pytest.raises(UsageError, match=f"frame {frame}: expected 0 to {FRAMES - 1}"):
                session.labels(frame)

    def test_a_polygon_covers_what_other_objects_have_there(
        self, open_session: Open, two: Footage
    ) -> None:
        session = open_session()
        session.add_object()
        session.paint(0, two.labels[0])
        session.fill(0, 2, [(0, 0), (10, 0), (10, HEIGHT), (0, HEIGHT)])
        labels = session.labels(0)
        assert (labels[:, :11] == 2).all()
        assert np.array_equal(labels[:, 11:], two.labels[0][:, 11:])

    def test_a_box_finds_the_object_by_its_colours(self, open_session: Open, two: Footage) -> None:
        session = open_session()
        session.cut(0, 1, (1, 23, 22, 22))
        assert np.mean(session.labels(0) != two.labels[0]) < 0.01

    def test_snapping_redraws_one_object_and_leaves_the_others(
        self, open_session: Open, two: Footage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: ColourNetwork())
        session = open_session()
        session.add_object()
        rough = np.roll(two.labels[0], 2, axis=1)
        rough[:4, -4:] = 2
        session.paint(0, rough)
        session.snap(0, 1)
        labels = session.labels(0)
        assert np.mean((labels == 1) != (two.labels[0] == 1)) < 0.01
        assert np.array_equal(labels == 2, rough == 2)
        session.undo()
        assert np.array_equal(session.labels(0), rough)


class TestObjects:
    def test_get_the_lowest_free_ids_and_names_that_are_kept(
        self, open_session: Open, two: Footage
    ) -> None:
        session = open_session()
        assert [session.add_object(), session.add_object()] == [2, 3]
        session.remove_object(2)
        assert session.add_object() == 2
        session.rename(1, "  the  dog ")
        session.paint(0, two.labels[0])
        assert open_session(session.folder).names == {
            1: "the dog",
            2: "Object 2",
            3: "Object 3",
        }

    @pytest.mark.parametrize("name", ["", " ", "n" * 61])
    def test_without_a_proper_name_are_refused(self, open_session: Open, name: str) -> None:
        with pytest.raises(UsageError, match="object 1: expected a name of 1 to 60 characters"):
            open_session().rename(1, name)

    def test_that_are_removed_take_what_is_painted_of_them_along(
        self, open_session: Open, two: Footage
    ) -> None:
        session = open_session()
        session.add_object()
        session.paint(4, two.labels[4])
        session.remove_object(2)
        assert np.array_equal(session.labels(4), only(two.labels[4], 1))
        assert state_of(session)["undo"] is False

    def test_are_never_fewer_than_one(self, open_session: Open) -> None:
        with pytest.raises(UsageError, match="one of several"):
            open_session().remove_object(1)


class TestSaving:
    def test_writes_outputs_of_what_is_followed_and_no_more(
        self, open_session: Open, two: Footage
    ) -> None:
        session = open_session(changed=stop_at(4))
        session.paint(0, two.labels[0])
        session.paint(FRAMES - 1, two.labels[FRAMES - 1] % 2)
        session.follow()
        valid = finished(session).valid
        assert valid < FRAMES
        session.changed = lambda: None
        session.save(["overlay", "cutouts"])
        finished(session)
        assert session.runner.problem is None
        assert session.valid == valid
        folder = session.folder
        assert session.saved == tuple(
            str(folder / name) for name in ("masks", "overlay.mp4", "cutouts")
        )
        assert sum(1 for _ in read_frames(folder / "overlay.mp4")) == valid
        assert len(list((folder / "cutouts").iterdir())) == valid

    def test_goes_on_to_the_end_when_more_is_followed_afterwards(
        self, open_session: Open, two: Footage, by_command_line: Callable[..., list[LabelMap]]
    ) -> None:
        session = followed(open_session(changed=stop_at(4)), two.labels[0])
        session.changed = lambda: None
        session.save(["overlay"])
        finished(session)
        assert session.saved
        gone_on(session)
        assert session.is_complete
        assert same(masks_in(session.folder), by_command_line(session))
        assert sum(1 for _ in read_frames(session.folder / "overlay.mp4")) == FRAMES

    def test_before_anything_is_followed_is_refused(self, open_session: Open) -> None:
        with pytest.raises(UsageError, match="follow an object first"):
            open_session().save(["overlay"])

    def test_an_unknown_output_is_refused(self, open_session: Open) -> None:
        with pytest.raises(UsageError, match="expected outputs among overlay, cutouts"):
            open_session().save(["../../etc"])


class TestAProjectOpenedAgain:
    def test_has_what_was_painted_and_followed(self, open_session: Open, two: Footage) -> None:
        session = open_session(changed=stop_at(4))
        session.paint(0, two.labels[0])
        session.follow()
        finished(session).close()
        again = open_session(session.folder)
        assert again.painted.places == {(0, 1)}
        assert again.valid == session.valid
        assert all(
            np.array_equal(again.labels(frame), session.labels(frame)) for frame in range(FRAMES)
        )

    def test_after_a_kill_counts_the_masks_that_are_whole(
        self, open_session: Open, two: Footage
    ) -> None:
        session = open_session()
        session.paint(0, two.labels[0])
        session.follow()
        finished(session).close()
        report = json.loads((session.folder / "run.json").read_text())
        (session.folder / "run.json").write_text(json.dumps({**report, "status": "running"}))
        (session.folder / "masks" / "00003.png").write_bytes(b"")
        again = open_session(session.folder)
        assert again.valid == 3
        gone_on(again)
        assert again.is_complete

    def test_counts_no_masks_that_somebody_has_removed(
        self, open_session: Open, two: Footage
    ) -> None:
        session = followed(open_session(), two.labels[0])
        session.close()
        (session.folder / "masks" / "00005.png").unlink()
        assert open_session(session.folder).valid == 5

    def test_under_its_video_goes_on_too(self, open_session: Open, two: Footage) -> None:
        session = open_session()
        session.paint(0, two.labels[0])
        session.close()
        assert open_session(two.path).painted.places == {(0, 1)}

    def test_keeps_the_options_chosen_on_the_page(
        self, open_session: Open, two: Footage, options: dict[str, object]
    ) -> None:
        session = open_session()
        session.choose(gc_every=5)
        session.close()
        assert open_session(session.folder).options.gc_every == 5


def test_the_command_line_that_is_shown_makes_the_same_masks(
    open_session: Open,
    two: Footage,
    vostool: Call,  # noqa: F811
    tmp_path: Path,
) -> None:
    session = open_session()
    assert command_of(session) is None
    session.paint(0, two.labels[0])
    session.choose(gc_every=3)
    session.follow()
    finished(session)
    command = command_of(session)
    assert command is not None
    program, *arguments = shlex.split(command)
    assert program == "vostool"
    before = (session.folder / "run.json").read_bytes()
    outcome = vostool(*arguments)
    assert outcome.code == 0
    assert read_report(session.folder) is not None
    expected = masks_in(session.folder)
    # without what is there it makes all of it
    arguments[arguments.index("-o") + 1] = str(tmp_path / "elsewhere")
    assert vostool(*arguments).code == 0
    assert same(masks_in(tmp_path / "elsewhere"), expected)
    assert json.loads(before)["options"]["size"] == HEIGHT


def test_a_folder_of_frames_is_followed_under_the_names_of_its_pictures(
    open_session: Open, two: Footage, tmp_path: Path
) -> None:
    from PIL import Image

    frames = tmp_path / "frames"
    frames.mkdir()
    for frame in read_frames(two.path):
        Image.fromarray(frame.rgb).save(frames / f"img_{10 + frame.index}.png")
    session = followed(open_session(frames), two.labels[0])
    assert session.runner.problem is None
    assert (session.painted.folder / "1" / "img_10.png").exists()
    assert (session.folder / "masks" / "img_17.png").exists()
    session.close()
    assert open_session(session.folder).painted.places == {(0, 1)}
