import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vostool.errors import InputError, UsageError
from vostool.files.tables import Row, read_rows

COLUMNS = ("name", "count", "marks")
Write = Callable[..., Path]


@pytest.fixture
def parquet(tmp_path: Path) -> Write:
    """Write a Parquet table of some columns."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    def write(**columns: list[Any]) -> Path:
        write_table(pyarrow.table(columns), tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    return write


def test_a_parquet_table_has_its_numbers_and_lists_as_text(parquet: Write) -> None:
    path = parquet(name=["a", " ", None], count=[1, None, 2.5], marks=[["x", "y;z"], [], None])
    first, third = read_rows(path, COLUMNS)
    assert first == Row(f"{path}: row 1", {"name": "a", "count": "1", "marks": ("x", "y;z")})
    assert third == Row(f"{path}: row 3", {"count": "2.5"})
    assert first.several("marks") == ("x", "y;z")


def test_a_list_where_one_text_is_expected_is_an_input_error(parquet: Write) -> None:
    (row,) = read_rows(parquet(name=[["a", "b"]]), COLUMNS)
    with pytest.raises(InputError, match="row 1: name: expected one text, found a list"):
        row.text("name")


def test_a_parquet_table_with_an_unknown_column_or_kind_of_value_is_an_input_error(
    parquet: Write,
) -> None:
    with pytest.raises(InputError, match="expected columns name, count, marks, found 'colour'"):
        list(read_rows(parquet(colour=["red"]), COLUMNS))
    with pytest.raises(InputError, match=r"row 1: name: expected a text, .* found bytes"):
        list(read_rows(parquet(name=[b"a"]), COLUMNS))


@pytest.mark.parametrize("content", [b"", b"PAR1 but no more PAR1", b"\0" * 100])
def test_a_damaged_parquet_table_is_an_input_error_of_one_line(
    content: bytes, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"t\.parquet: expected a Parquet table: ") as refusal:
        list(read_rows(tmp_path / "t.parquet", COLUMNS))
    assert len(str(refusal.value).splitlines()) == 1


def test_a_parquet_table_that_is_missing_is_an_input_error(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match=r"none\.parquet: cannot be read: No such file"):
        list(read_rows(tmp_path / "none.parquet", COLUMNS))


def test_a_parquet_table_without_pyarrow_is_a_usage_error_with_its_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.lib", None)
    with pytest.raises(UsageError, match=r"needs pyarrow, install it: pip install pyarrow$"):
        list(read_rows(tmp_path / "t.parquet", COLUMNS))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "expected a JSON object: Expecting property name"),
        ("[1]", r"expected a JSON object, found \[1\]"),
        ('"a"', 'expected a JSON object, found "a"'),
        ('{"colour": 1}', "expected columns name, count, marks, found 'colour'"),
        ('{"name": "a", "name": "b"}', "expected each column once, found name twice"),
        ('{"name": {"a": 1}}', "name: expected a text, .* found an object"),
        ('{"marks": [["a"]]}', "marks: expected a text, .* found a list"),
        ('{"name": "a\\u0000"}', "expected text, found a zero byte"),
        ('{"name": "a\\ud800"}', "expected text, found half a character"),
        (f'{{"count": {"9" * 5000}}}', "expected a JSON object: "),
        ("[" * 100_000, "expected a JSON object: "),
    ],
)
def test_a_damaged_line_of_json_is_an_input_error_with_its_number(
    line: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "t.jsonl").write_text(f'{{"name": "a"}}\n{line}\n')
    with pytest.raises(InputError, match=rf"t\.jsonl:2: {words}"):
        list(read_rows(tmp_path / "t.jsonl", COLUMNS))


def test_json_lines_that_are_no_utf_8_are_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"name": "\xff"}\n')
    with pytest.raises(InputError, match=r"t\.jsonl: expected JSON lines in UTF-8"):
        list(read_rows(tmp_path / "t.jsonl", COLUMNS))
