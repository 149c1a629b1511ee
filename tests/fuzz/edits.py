"""Damage to files: strategies of edits, which are functions from the bytes of a file to others.

`byte_edits` knows nothing of formats, `part_edits` changes a file part by part (the chunks of a
PNG, the atoms of an MP4) and `document_edits` the values of a document (JSON, TOML, CSV, the
header of safetensors, a checkpoint), so that what is wrong lies behind right checksums and syntax.
"""

import copy
import csv
import io
import json
import struct
import tomllib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Edit = Callable[[bytes], bytes]
Parts = list[bytes]

# what a number, a text or any other value may be replaced by
ODD_TEXTS: tuple[str, ...] = (
    "", " ", "x", "0", "-1", "nan", "1e999", "9" * 5000, "../../escaped", "/nowhere/at/all", ".",
    "a\0b", "a\nb\r\nc", "\x1b[31mred", "\u202eright to left", "\u00f6\U0001f600", "\ufeff",
    "[red]x[/red]", "%s {0}", '"', "'", ";", "n" * 300, "\ud800",
)  # fmt: skip
ODD_NUMBERS: tuple[int | float, ...] = (
    0, 1, -1, 2, 3, 255, 256, 0.5, 10**12, -(10**12), 2**31, 2**63 - 1, 2**63, 2**64, 10**400,
    1e-320, 1e308, -1e308, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
LARGE_NUMBERS = (1000, 20_000, 10**6)  # what memory and time may just hold
# stand for values that no writer of documents would write
RAW = {"@deep@": "[" * 50_000 + "]" * 50_000, "@digits@": "9" * 5000}
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    {"x": {}},
    [0] * 100,
    *RAW,
    *ODD_NUMBERS,
    *ODD_TEXTS,
)

LENGTHS = (1, 2, 4, 8, 64, 1024, 10**9)
places: SearchStrategy[float] = st.builds(
    # in a file, as a share of it; its beginning, where headers are, comes up more often
    lambda number, power: (number / 2**16) ** power,
    st.integers(0, 2**16 - 1),
    st.sampled_from((1, 4)),
)


def at(content: Sequence[Any], place: float) -> int:
    """Return the index of a place; 0 where there is nothing."""
    return int(place * len(content))


def flip(place: float, bit: int) -> Edit:
    def edit(data: bytes) -> bytes:
        index = at(data, place)
        return (
            data[:index]
            + bytes(byte ^ 1 << bit for byte in data[index : index + 1])
            + data[index + 1 :]
        )

    return edit


def truncate(place: float) -> Edit:
    return lambda data: data[: at(data, place)]


def overwrite(place: float, new: bytes) -> Edit:
    def edit(data: bytes) -> bytes:
        index = at(data, place)
        return (data[:index] + new + data[index + len(new) :])[: max(len(data), 1)]

    return edit


def fill(place: float, length: int, byte: int) -> Edit:
    return lambda data: overwrite(place, bytes([byte]) * min(length, len(data)))(data)


def splice(place: float, source: float, length: int, width: int) -> Edit:
    """Put a span of the file in the place of `width` bytes elsewhere: 0 inserts, 10**9 joins."""

    def edit(data: bytes) -> bytes:
        index, begin = at(data, place), at(data, source)
        return data[:index] + data[begin : begin + length] + data[index + width :]

    return edit


def cut(place: float, length: int) -> Edit:
    return lambda data: data[: at(data, place)] + data[at(data, place) + length :]


def set_number(place: float, value: int, form: str) -> Edit:
    size = struct.calcsize(form)
    new = struct.pack(form, value % 256**size)
    return lambda data: overwrite(at(data, place) // size * size / max(1, len(data)), new)(data)


byte_edits: SearchStrategy[Edit] = st.one_of(
    st.builds(flip, places, st.integers(0, 7)),
    st.builds(truncate, places),
    st.builds(overwrite, places, st.binary(min_size=1, max_size=16)),
    st.builds(fill, places, st.sampled_from(LENGTHS), st.sampled_from((0, 255))),
    st.builds(splice, places, places, st.sampled_from(LENGTHS), st.sampled_from((0, 1, 8, 10**9))),
    st.builds(cut, places, st.sampled_from(LENGTHS)),
    st.builds(
        set_number,
        places,
        st.sampled_from((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)),
        st.sampled_from((">I", "<I", ">H", "<H", ">Q", "<Q")),
    ),
)


def chain(edits: Sequence[Edit]) -> Edit:
    """Return an edit that makes several, one after the other."""

    def edit(data: bytes) -> bytes:
        for each in edits:
            data = each(data)
        return data

    return edit


def some(edits: SearchStrategy[Edit], most: int = 3) -> SearchStrategy[Edit]:
    """Return edits of one step, which leaves most of a file well, or of several."""
    return st.one_of(edits, st.lists(edits, min_size=1, max_size=most).map(chain))


# ---- part by part


def part_edits(
    split: Callable[[bytes], Parts], join: Callable[[Parts], bytes]
) -> SearchStrategy[Edit]:
    """Return edits of the parts of a file: one is changed, dropped, repeated or put elsewhere."""

    def change(place: float, inner: Edit) -> Callable[[Parts], Parts]:
        return lambda parts: [
            inner(part) if index == at(parts, place) else part for index, part in enumerate(parts)
        ]

    def move(place: float, to: float, copies: int, keep: bool) -> Callable[[Parts], Parts]:
        def edit(parts: Parts) -> Parts:
            index = at(parts, place)
            rest = parts if keep else parts[:index] + parts[index + 1 :]
            target = at(rest, to)
            return rest[:target] + parts[index : index + 1] * copies + rest[target:]

        return edit

    steps = st.one_of(
        st.builds(change, places, byte_edits),
        st.builds(move, places, places, st.sampled_from((0, 1, 2)), st.booleans()),
    )
    return steps.map(lambda step: lambda data: join(step(split(data))))


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def split_png(data: bytes) -> Parts:
    """Return the chunks of a PNG, type and data."""
    parts, index = [], len(PNG_SIGNATURE)
    while index + 12 <= len(data):
        length = int.from_bytes(data[index : index + 4], "big")
        parts.append(data[index + 4 : index + 8 + length])
        index += 12 + length
    return parts


def join_png(parts: Parts) -> bytes:
    """Return a PNG of chunks, with the right lengths and checksums."""
    chunks = (
        struct.pack(">I", max(0, len(part) - 4)) + part + struct.pack(">I", zlib.crc32(part))
        for part in parts
    )
    return PNG_SIGNATURE + b"".join(chunks)


ATOMS_OF_ATOMS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"udta", b"edts")


def split_mp4(data: bytes) -> Parts:
    """Return the atoms of an MP4, those of others as a mere header before what is in them."""
    parts, index = [], 0
    while index < len(data):
        size = int.from_bytes(data[index : index + 4], "big")
        if data[index + 4 : index + 8] in ATOMS_OF_ATOMS:
            size = 8
        parts.append(data[index : index + max(size, 8)])
        index += max(size, 8)
    return parts


png_edits = part_edits(split_png, join_png)
mp4_edits = part_edits(split_mp4, b"".join)
line_edits = part_edits(lambda data: data.splitlines(keepends=True), b"".join)


# ---- value by value


@dataclass(frozen=True)
class Format:
    """How a file is read as a document of dicts, lists and values, and written."""

    load: Callable[[bytes], Any]
    dump: Callable[[Any], bytes]


def nodes(document: Any) -> Iterator[tuple[Any, Any]]:
    """Yield where every value of a document lies: its container and its key in there."""
    entries: Any = ()
    if isinstance(document, dict):
        entries = document.items()
    elif isinstance(document, list):
        entries = enumerate(document)
    for key, value in list(entries):
        yield document, key
        yield from nodes(value)


Step = Callable[[Any, Any, Any], None]  # changes a value, given its container and key, to another


def replace(container: Any, key: Any, value: Any) -> None:
    container[key] = value


def remove(container: Any, key: Any, value: Any) -> None:
    del container[key]


def wrap(container: Any, key: Any, value: Any) -> None:
    container[key] = [container[key]]


def repeat(container: Any, key: Any, value: Any) -> None:
    if isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    else:
        container[str(value)] = container[key]


def rename(container: Any, key: Any, value: Any) -> None:
    taken = container.pop(key)
    if isinstance(container, list):
        container.append(taken)
    else:
        container[str(value)] = taken


def document_edits(
    form: Format, values: Sequence[Any] = (*ODD_VALUES, *LARGE_NUMBERS)
) -> SearchStrategy[Edit]:
    """Return edits of one value of a document; what is no such document stays as it is."""

    def edit_of(place: float, step: Step, value: Any) -> Edit:
        def edit(data: bytes) -> bytes:
            try:
                document = form.load(data)
            except Exception:  # an edit before this one has seen to that
                return data
            every = list(nodes(document))
            if every:
                step(*every[at(every, place)], copy.deepcopy(value))
            return form.dump(document)

        return edit

    steps = st.sampled_from((replace, replace, replace, remove, wrap, repeat, rename))
    return st.builds(edit_of, places, steps, st.sampled_from(tuple(values)))


def encode(text: str) -> bytes:
    """Return a document's text in UTF-8, with what stands in the place of raw values put in."""
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text.encode("utf-8", "surrogatepass")


def dump_toml(value: Any) -> str:
    """Return a value as TOML, tables within a line."""
    if isinstance(value, dict):
        inner = (f"{json.dumps(str(key))} = {dump_toml(each)}" for key, each in value.items())
        return f"{{{', '.join(inner)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(dump_toml, value))}]"
    return json.dumps(value) if isinstance(value, str | bool) else str(value or 0)


def dump_recipe(table: dict[str, Any]) -> bytes:
    lines = (f"{json.dumps(str(key))} = {dump_toml(value)}\n" for key, value in table.items())
    return encode("".join(lines))


def load_csv(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def dump_csv(rows: Any) -> bytes:
    text = io.StringIO()
    for row in rows if isinstance(rows, list) else [rows]:
        csv.writer(text).writerow(row if isinstance(row, list) else [row])
    return text.getvalue().encode("utf-8", "surrogatepass")


def load_safetensors(data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    ours = header["__metadata__"]
    return {
        "header": {**header, "__metadata__": {**ours, "vostool": json.loads(ours["vostool"])}},
        "data": data[8 + size :],
    }


def dump_safetensors(document: dict[str, Any]) -> bytes:
    header = document.get("header")
    ours = header.get("__metadata__") if isinstance(header, dict) else None
    if isinstance(header, dict) and isinstance(ours, dict):
        text = {k: encode(json.dumps(v)).decode(errors="replace") for k, v in ours.items()}
        header = {**header, "__metadata__": text}
    content = encode(json.dumps(header))
    tensors = document.get("data")
    tail = tensors if isinstance(tensors, bytes) else b""
    return struct.pack("<Q", len(content)) + content + tail


def load_checkpoint(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


def dump_checkpoint(document: Any) -> bytes:
    file = io.BytesIO()
    torch.save(document, file)
    return file.getvalue()


JSON = Format(json.loads, lambda document: encode(json.dumps(document)))
JSON_LINES = Format(
    lambda data: [json.loads(line) for line in data.splitlines()],
    lambda lines: encode("".join(f"{json.dumps(line)}\n" for line in lines)),
)
TOML = Format(lambda data: tomllib.loads(data.decode()), dump_recipe)
CSV = Format(load_csv, dump_csv)
SAFETENSORS = Format(load_safetensors, dump_safetensors)
CHECKPOINT = Format(load_checkpoint, dump_checkpoint)
ODD_TENSORS = (torch.zeros(0), torch.full((2, 2), float("nan")), torch.zeros(1, dtype=torch.int8))
