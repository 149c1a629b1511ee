import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vostool.errors import MaskError
from vostool.studio.runs import RUN, decode_runs, encode_runs


def runs_of(*pairs: tuple[int, int]) -> bytes:
    return np.array(list(pairs), RUN).tobytes()


@settings(deadline=None, derandomize=True, database=None)
@given(st.integers(1, 7), st.integers(1, 7), st.randoms(use_true_random=False))
def test_labels_come_back_from_their_runs_exactly(height: int, width: int, random: object) -> None:
    choose = random.choice  # type: ignore[attr-defined]
    labels = np.array([choose([0, 1, 2, 254]) for _ in range(height * width)], np.uint8)
    labels = labels.reshape(height, width)
    assert np.array_equal(decode_runs(encode_runs(labels), labels.shape), labels)


def test_a_run_goes_on_across_the_end_of_a_row() -> None:
    labels = np.array([[0, 7, 7], [7, 0, 0]], np.uint8)
    assert encode_runs(labels) == runs_of((0, 1), (7, 3), (0, 2))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "6 pixels in all, found 0"),
        (b"\0" * 7, "pairs of 4-byte integers, found 7 bytes"),
        (runs_of((1, 5)), "6 pixels in all, found 5"),
        (runs_of((1, 7)), "6 pixels in all, found 7"),
        (runs_of((1, 2**32 - 1), (0, 7)), "6 pixels in all, found 4294967302"),
        (runs_of((255, 6)), "ids 0 to 254, found 255"),
        (runs_of((257, 6)), "ids 0 to 254, found 257"),
    ],
)
def test_runs_that_do_not_fit_the_frame_are_refused(content: bytes, words: str) -> None:
    with pytest.raises(MaskError, match=words):
        decode_runs(content, (2, 3))
