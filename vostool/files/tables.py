"""Rows of tables: CSV, JSON lines or Parquet, by the ending of the file's name.

A row is the same in each: text by column. JSON lines and Parquet may also hold numbers, which
become text, and lists of texts. Tables are read row by row. Never imports torch.
"""

import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from vostool.errors import InputError
from vostool.files import check_regular, first_line, open_text
from vostool.files.extras import import_extra

BETWEEN = ";"  # several texts in one cell, where the table has no lists

Cell: TypeAlias = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of a row that are not empty, by column, and its place for messages."""

    where: str
    cells: Mapping[str, Cell]

    def text(self, column: str) -> str | None:
        """Return the text of a cell, None if it is empty; raises InputError for a list."""
        cell = self.cells.get(column)
        if isinstance(cell, tuple):
            raise InputError(f"{self.where}: {column}: expected one text, found a list")
        return cell

    def several(self, column: str) -> tuple[str, ...]:
        """Return the texts of a cell: of its list, or between semicolons."""
        cell = self.cells.get(column, ())
        texts = cell.split(BETWEEN) if isinstance(cell, str) else cell
        return tuple(text for each in texts if (text := each.strip()))


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a table that have any cell filled.

    Raises InputError for what is no table, or has other columns than those of `columns`;
    UsageError without the package that reads Parquet.
    """
    kind = path.suffix.lower()
    if kind in (".jsonl", ".ndjson"):
        found = json_rows(path, columns)
    elif kind == ".parquet":
        found = parquet_rows(path, columns)
    else:
        found = csv_rows(path, columns)
    for where, cells in found:
        if cells:
            check_text(where, cells)
            yield Row(where, cells)


def csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Cell]]]:
    """Yield the rows of a CSV table, each with its file and line; raises InputError."""
    with open_text(path, "a CSV table") as file:
        rows = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(rows, [])]
            check_columns(f"{path}:1", header, columns, " with commas between them")
            for cells in rows:
                where = f"{path}:{rows.line_num}"
                if len(cells) > len(header):
                    raise InputError(
                        f"{where}: expected {len(header)} cells as in the header, found "
                        f"{len(cells)}; a comma too many, or one in a name without quotes?"
                    )
                filled = zip(header, cells, strict=False)
                yield where, {name: text for name, cell in filled if (text := cell.strip())}
        except csv.Error as error:
            raise InputError(f"{path}:{rows.line_num}: expected a CSV table: {error}") from error


def json_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Cell]]]:
    """Yield the objects of a file of JSON lines, each with its file and line.

    Raises InputError.
    """
    known = frozenset(columns)
    with open_text(path, "JSON lines") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                pairs = json.loads(line, object_pairs_hook=tuple)
            except json.JSONDecodeError as error:
                words = f"{error.msg} at character {error.colno}"
                raise InputError(f"{where}: expected a JSON object: {words}") from error
            except (ValueError, RecursionError) as error:  # a number of too many digits
                raise InputError(f"{where}: expected a JSON object: {error}") from error
            if not isinstance(pairs, tuple):
                raise InputError(f"{where}: expected a JSON object, found {line.strip()[:40]}")
            names = [name for name, _ in pairs]
            if len(set(names)) < len(names) or not known.issuperset(names):
                check_columns(where, names, columns)
            yield where, cells_of(where, pairs)


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Cell]]]:
    """Yield the rows of a Parquet file, each with its file and number, from 1.

    Raises InputError, or UsageError without pyarrow.
    """
    what = f"{path}: a Parquet table"
    failures = import_extra("pyarrow.lib", "pyarrow", what).ArrowException, ValueError
    parquet = import_extra("pyarrow.parquet", "pyarrow", what)
    number = 0
    try:
        check_regular(path)
        with path.open("rb") as file, parquet.ParquetFile(file) as table:
            check_columns(f"{path}", table.schema_arrow.names, columns)
            for batch in table.iter_batches():
                for cells in batch.to_pylist():
                    number += 1
                    where = f"{path}: row {number}"
                    yield where, cells_of(where, cells.items())
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise InputError(f"{path}: cannot be read: {reason}") from error
    except failures as error:
        raise InputError(f"{path}: expected a Parquet table: {first_line(error)}") from error


def check_columns(
    where: str, found: Sequence[str], columns: Collection[str], hint: str = ""
) -> None:
    """Raise InputError for a column that is unknown, or there twice."""
    for number, column in enumerate(found):
        if column not in columns:
            raise InputError(
                f"{where}: expected columns {', '.join(columns)}{hint}, found {column!r}"
            )
        if column in found[:number]:
            raise InputError(f"{where}: expected each column once, found {column} twice")


def check_text(where: str, cells: Mapping[str, Cell]) -> None:
    """Raise InputError for text that cannot be a name: JSON can escape halves of characters."""
    text = "".join([each if isinstance(each, str) else "".join(each) for each in cells.values()])
    if "\0" in text:
        raise InputError(f"{where}: expected text, found a zero byte")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: expected text, found half a character") from error


def cells_of(where: str, values: Collection[tuple[str, Any]]) -> dict[str, Cell]:
    """Return the values of a row that are not empty as text; raises InputError."""
    cells: dict[str, Cell] = {}
    for column, value in values:
        if isinstance(value, list):
            texts = tuple(text_of(where, column, each) for each in value)
            if any(texts):
                cells[column] = texts
        elif text := text_of(where, column, value):
            cells[column] = text
    return cells


def text_of(where: str, column: str, value: Any) -> str:
    """Return a value as it would be in a CSV table; raises InputError."""
    if isinstance(value, str):
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():  # as tables keep integers with gaps
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    kinds = {"tuple": "an object", "dict": "an object", "list": "a list"}
    kind = kinds.get(type(value).__name__, type(value).__name__)
    raise InputError(
        f"{where}: {column}: expected a text, a number, or a list of them, found {kind}"
    )
