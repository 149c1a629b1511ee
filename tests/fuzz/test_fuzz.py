from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.cases import Base, make_base, read_base
from tests.fuzz.kinds import KINDS
from tests.fuzz.running import Case, run

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
# of each kind, fewer where each takes a step of training; thousands by tests.bench.fuzz
EXAMPLES, SLOW_EXAMPLES = 10, 4
SLOW = ("checkpoint", "coco")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("base")
    make_base(folder)
    return read_base(folder)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return folders that are not there yet."""
    folder = tmp_path_factory.mktemp("runs")
    return (folder / str(number) for number in count())


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_end_in_one_line_a_known_code_and_nothing_half_written(
    kind: str, base: Base, roots: Iterator[Path]
) -> None:
    @settings(
        max_examples=SLOW_EXAMPLES if kind in SLOW else EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(KINDS[kind](base))
    def check(case: Case) -> None:
        assert not run(case, next(roots)).violations, case.arguments

    check()
