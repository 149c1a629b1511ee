import multiprocessing
import os
import signal
from contextlib import closing

import pytest
import torch

from tests.datasets.making import recipe_of, write_library
from vostool.errors import DeviceError, InputError, UsageError
from vostool.train.batches import MOST_WORKERS, draw_ahead, worker_count
from vostool.train.recipe import Recipe
from vostool.train.sampler import Library, load_library

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return recipe_of(
        write_library(tmp_path_factory.mktemp("data")), multi_object_share=0.5, clips=3
    )


@pytest.fixture(scope="module")
def library(recipe: Recipe) -> Library:
    return load_library(recipe, CPU)


class TestBatchesDrawnByProcesses:
    @pytest.mark.parametrize("shard", [slice(None), slice(1, None, 2)])
    def test_are_those_that_a_thread_draws_in_their_order(
        self, recipe: Recipe, library: Library, shard: slice
    ) -> None:
        steps = range(2, 7)
        by_thread, by_processes = (
            list(draw_ahead(library, recipe, steps, CPU, shard, workers)) for workers in (0, 2)
        )
        assert len(by_processes) == len(steps)
        for (clip, *rest), (other, *other_rest) in zip(by_thread, by_processes, strict=True):
            assert rest == other_rest
            for name in ("images", "masks", "known"):
                assert torch.equal(getattr(clip, name), getattr(other, name))

    def test_leave_the_random_numbers_of_the_run_alone(
        self, recipe: Recipe, library: Library
    ) -> None:
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        list(draw_ahead(library, recipe, range(1), CPU, workers=1))
        torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)

    def test_end_with_the_processes_when_no_more_are_wanted(
        self, recipe: Recipe, library: Library
    ) -> None:
        with closing(draw_ahead(library, recipe, range(1000), CPU, workers=2)) as batches:
            next(batches)
            assert len(multiprocessing.active_children()) == 2
        assert not multiprocessing.active_children()

    @pytest.mark.parametrize("workers", [0, 1])
    def test_that_cannot_be_drawn_raise_what_drawing_raised(
        self, recipe: Recipe, library: Library, workers: int
    ) -> None:
        alone = Library(videos=library.videos[:0], photographs=library.photographs)
        several = recipe.model_copy(update={"multi_object_share": 1.0, "max_objects": 5})
        with pytest.raises(InputError, match=r"^step 0: found no clip with \d objects"):
            list(draw_ahead(alone, several, range(1), CPU, workers=workers))

    @pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
    def test_go_on_when_a_signal_to_stop_comes_to_all_processes(
        self, recipe: Recipe, library: Library, kind: signal.Signals
    ) -> None:
        with closing(draw_ahead(library, recipe, range(20), CPU, workers=2)) as batches:
            next(batches)
            for process in multiprocessing.active_children():
                os.kill(process.pid or 0, kind)
            assert len(list(batches)) == 19

    def test_whose_process_dies_say_so(self, recipe: Recipe, library: Library) -> None:
        with closing(draw_ahead(library, recipe, range(1000), CPU, workers=1)) as batches:
            next(batches)
            for process in multiprocessing.active_children():
                process.kill()
            with pytest.raises(DeviceError, match="a process that draws clips died"):
                list(batches)


class TestTheNumberOfProcesses:
    @pytest.mark.parametrize(
        ("cores", "processes", "expected"), [(16, 1, MOST_WORKERS), (8, 1, 7), (8, 2, 3), (1, 1, 0)]
    )
    def test_is_a_share_of_the_cores_beside_a_gpu(
        self, cores: int, processes: int, expected: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vostool.train.batches.available_cores", lambda: cores)
        assert worker_count(None, GPU, processes) == expected

    def test_is_0_beside_a_network_on_the_cpu(self) -> None:
        assert worker_count(None, CPU, 1) == 0

    @pytest.mark.parametrize("device", [CPU, GPU])
    @pytest.mark.parametrize("asked", [0, 3])
    def test_is_that_which_was_asked_for(self, asked: int, device: torch.device) -> None:
        assert worker_count(asked, device, 2) == asked

    def test_is_refused_where_processes_cannot_be_forked(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
        assert worker_count(None, GPU, 1) == 0
        assert worker_count(0, CPU, 1) == 0
        with pytest.raises(UsageError, match="--workers 2: this system cannot fork"):
            worker_count(2, CPU, 1)
