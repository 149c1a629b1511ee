from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch

from tests.scale.making import load
from vostool.cli.loading import local_pool
from vostool.inference.options import ModelOptions
from vostool.scale.work import Share
from vostool.threads import VARIABLE, thread_count


def test_each_of_two_pools_after_another_divides_all_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[list[int]] = []
    set_here: list[int] = []

    @contextmanager
    def pool(_: object, shares: Sequence[Share]) -> Iterator[None]:
        given.append([share.threads for share in shares])
        yield

    monkeypatch.setenv(VARIABLE, "8")
    monkeypatch.setattr(torch, "set_num_threads", set_here.append)
    monkeypatch.setattr("vostool.scale.local.LocalPool", pool)
    for _ in range(2):
        with local_pool(load, ModelOptions(device="cpu"), workers=2):
            assert thread_count() == 4
        assert thread_count() == 8
    assert given == [[4, 4], [4, 4]]
    assert set_here == [4, 8, 4, 8]
