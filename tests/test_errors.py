import pickle
import re
from pathlib import Path

from vostool import errors
from vostool.errors import EXIT_CODES, KINDS, OutputError

README = Path(__file__).parent.parent / "README.md"


def test_every_kind_of_error_has_an_exit_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in KINDS]
    assert len(set(codes)) == len(codes)
    assert all(0 < code < 128 for code in codes)  # from 128 on they are those of signals


def test_exit_codes_are_listed_in_ascending_order_each_with_another_meaning() -> None:
    assert list(EXIT_CODES) == sorted(EXIT_CODES)
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)


def test_the_tree_in_the_docstring_of_errors_is_the_table_of_exit_codes() -> None:
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.fullmatch(r"[ ├└─]+(\w+Error) +(\d+)  (.+)", line):
            drawn[match[1]] = int(match[2]), match[3]
    assert drawn == {kind.__name__: (kind.exit_code, kind.meaning) for kind in KINDS}


def test_the_readme_lists_the_exit_codes_as_the_table_does() -> None:
    text = " ".join(README.read_text(encoding="utf-8").split())
    listed = re.search(r"Exit codes: ([^.]*)\.", text)
    assert listed is not None
    assert listed[1] == ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())


def test_an_error_that_a_worker_sends_still_says_that_its_output_is_in_use() -> None:
    sent = pickle.loads(pickle.dumps(OutputError.of_use("out: is in use")))
    assert (type(sent), str(sent), sent.in_use) == (OutputError, "out: is in use", True)
