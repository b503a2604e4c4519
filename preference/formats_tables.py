"""Rows out of CSV, TSV or Parquet, a bounded piece in memory at a time."""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Self

import orjson

from preference.formats_faults import RowFault, too_long
from preference.formats_rows import DIALOGUE_COLUMNS, PROMPT_COLUMNS

Json = dict[str, Any]

PARQUET_BATCH_ROWS = 128
_COLUMNS = frozenset({"chosen", "rejected", "turns", *PROMPT_COLUMNS, *DIALOGUE_COLUMNS})
_STRUCTURED = frozenset(
    {"chosen", "rejected", "turns", "input", "tools", "preferred_output", "non_preferred_output"}
    | {*PROMPT_COLUMNS, *DIALOGUE_COLUMNS}
)


class TableError(Exception):
    """The table cannot be read on from here."""


def looks_like_csv(path: Path, start: bytes) -> bool:
    """By its name, or by a header with a column that is known here."""
    if {".csv", ".tsv"} & {suffix.lower() for suffix in path.suffixes}:
        return True
    header = start.split(b"\n", 1)[0].decode(errors="replace")
    return bool(_COLUMNS & {name.strip().strip('"').lower() for name in re.split("[,;\t]", header)})


def read_csv(file: IO[bytes], limit: int) -> Iterator[tuple[int, Any]]:
    """Rows by their first line's number; cells that hold lists or objects are parsed."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    lines = _Lines(text, limit)
    try:
        header = text.readline(limit)
        delimiter = max(",;\t", key=header.count)
        spaced = f"{delimiter} " in header  # "prompt, chosen": else the space would be part of the name
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter, skipinitialspace=spaced), [])]
        if len(set(names)) < len(names):
            raise TableError(f"the header names a column twice: {header.strip()[:200]!r}")
        csv.field_size_limit(limit)
        rows = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=spaced)
        while True:
            number = lines.n + 2
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:  # the next line begins a new row
                yield number, RowFault("row", "broken CSV", str(error), "cells whose quotes are closed or doubled")
            except _LineTooLong as error:
                yield number, too_long(error.size, limit)
            else:
                if cells:
                    yield number, _row_of(names, cells)
    finally:
        text.detach()  # the file is closed by who opened it


class _LineTooLong(Exception):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class _Lines:
    """Lines for the csv module, none of which is held when it is too long. n: how many were read."""

    def __init__(self, text: io.TextIOWrapper, limit: int) -> None:
        self._text, self._limit, self.n = text, limit, 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._text.readline(self._limit + 1)
        if not line:
            raise StopIteration
        self.n += 1
        if len(line) <= self._limit:
            return line
        size = len(line)
        while piece := self._text.readline(1 << 16):
            size += len(piece)
            if piece.endswith(("\n", "\r")):
                break
        raise _LineTooLong(size)


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
                    yield number, {name: _plain(value) for name, value in row.items()}
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"a damaged Parquet file ({str(error)[:200]}). Download or write it again.") from None


def _plain(value: Any) -> Any:
    """What JSON has no word for, as it would write it: text that a column keeps as bytes, exact decimals."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"{len(value):,} bytes that are no text"
    return float(value) if isinstance(value, Decimal) else value
