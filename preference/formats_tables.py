"""Rows out of a JSON array, CSV, TSV or Parquet, a bounded piece in memory at a time."""

from __future__ import annotations

import ast
import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

import orjson

from preference.formats_rows import DIALOGUE_COLUMNS, PROMPT_COLUMNS, RowFault

Json = dict[str, Any]

PARQUET_BATCH_ROWS = 128
_CHUNK_CHARS = 1 << 20
_COLUMNS = frozenset({"chosen", "rejected", "turns", *PROMPT_COLUMNS, *DIALOGUE_COLUMNS})
_STRUCTURED = frozenset(
    {"chosen", "rejected", "turns", "input", "tools", "preferred_output", "non_preferred_output"}
    | {*PROMPT_COLUMNS, *DIALOGUE_COLUMNS}
)
_SPACE_OR_COMMA = re.compile(r"[\s,]*")


class TableError(Exception):
    """The table cannot be read on from here."""


def looks_like_csv(path: Path, start: bytes) -> bool:
    """By its name, or by a header with a column that is known here."""
    if {".csv", ".tsv"} & {suffix.lower() for suffix in path.suffixes}:
        return True
    header = start.split(b"\n", 1)[0].decode(errors="replace")
    return bool(_COLUMNS & {name.strip().strip('"').lower() for name in re.split("[,;\t]", header)})


def read_json_array(file: IO[bytes], limit: int) -> Iterator[tuple[int, Any]]:
    """Elements with their numbers from 1; none of them is held longer than it takes to give it on.

    A fault in one element loses the place in the array: it is the last one that is found.
    """
    text = _Buffer(file)
    text.skip_to_elements()
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    number = 0
    while text.at_element():
        number += 1
        while True:
            try:
                value, text.at = decoder.raw_decode(text.chars, text.at)
                break
            except (json.JSONDecodeError, RecursionError) as error:
                if text.held > limit or isinstance(error, RecursionError) or not text.more():
                    wanted = f"JSON objects of at most {limit:,} bytes; nothing after this one could be checked"
                    yield number, RowFault("row", "broken JSON", str(error), wanted)
                    return
        yield number, value
    if not text.ended:
        yield number, RowFault("row", "broken JSON", "the array does not end", "a ] after the last row")


class _Buffer:
    """Characters of the file from a place on, refilled as they are used up."""

    def __init__(self, file: IO[bytes]) -> None:
        # bytes that are no UTF-8 become lone surrogates, which are found when the row is written
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._file = file
        self.chars, self.at, self.ended = "", 0, False

    @property
    def held(self) -> int:
        return len(self.chars) - self.at

    def more(self) -> bool:
        """As many characters again as are held; False at the file's end."""
        data = self._file.read(max(_CHUNK_CHARS, self.held))
        self.chars = self.chars[self.at :] + self._decoder.decode(data, not data)
        self.at = 0
        return bool(data)

    def skip_to_elements(self) -> None:
        self.more()
        self.at = self.chars.index("[") + 1

    def at_element(self) -> bool:
        """Whether another element begins here, after commas and white space."""
        while True:
            match = _SPACE_OR_COMMA.match(self.chars, self.at)
            self.at = match.end() if match else self.at
            if self.held:
                self.ended = self.chars[self.at] == "]"
                return not self.ended
            if not self.more():
                return False


def _no_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


def read_csv(file: IO[bytes], limit: int) -> Iterator[tuple[int, Any]]:
    """Rows by their first line's number; cells that hold lists or objects are parsed."""
    lines = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        header = lines.readline(limit)
        delimiter = max(",;\t", key=header.count)
        names = next(csv.reader([header], delimiter=delimiter), [])
        if len(set(names)) < len(names):
            raise TableError(f"the header names a column twice: {header.strip()[:200]}")
        csv.field_size_limit(limit)
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        number = 2
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                wanted = "quoted cells that end; nothing after this could be checked"
                yield number, RowFault("row", "broken CSV", str(error), wanted)
                return
            if cells:
                yield number, _row_of(names, cells)
            number = rows.line_num + 2
    finally:
        lines.detach()  # the file is closed by who opened it


def _row_of(names: list[str], cells: list[str]) -> Json | RowFault:
    if len(cells) != len(names):
        return RowFault("row", "wrong number of cells", f"{len(cells)}", f"{len(names)}, as the header has")
    try:
        return {name: _cell(name, cell) for name, cell in zip(names, cells, strict=True)}
    except RowFault as fault:
        return fault


def _cell(name: str, cell: str) -> Any:
    """Lists of messages stand in CSV as JSON, or as Python wrote them."""
    start = cell.lstrip()
    if name not in _STRUCTURED or not start.startswith(("[{", "{", '["', "['")):
        return cell
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        pass
    try:
        return ast.literal_eval(start)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        if start.startswith(("[{", '{"', "{'")):
            raise RowFault(name, "broken JSON", f"a cell that starts with {start[:40]!r}", "JSON") from None
        return cell


def read_parquet(path: Path) -> Iterator[tuple[int, Any]]:
    """Rows with their numbers from 1."""
    import pyarrow as pa  # 0.2 s and 60 MB that other formats need not pay
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            number = 0
            for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"a damaged Parquet file ({str(error)[:200]}). Download or write it again.") from None
