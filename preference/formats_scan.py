"""The loop over all rows of a dataset: canonical bytes out, hashes and counts kept, every fault noted.

What is kept for each row is 41 bytes, so that three million rows fit; the rows themselves only pass through.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
import orjson

from preference.fingerprints import HASH_BYTES, prompt_hash, row_hash
from preference.formats_blocks import Block
from preference.formats_faults import RowDropped, RowFault, too_long
from preference.formats_json import check_keys, n_quotes, not_json, not_writable
from preference.formats_lines import BOM
from preference.formats_ready import Reader
from preference.formats_rows import API_FIELDS, Kind, convert

MAX_ROW_BYTES = 8 * 2**20  # about two million tokens: more than any context
FAULTS_IN_FULL = 20
LINES_NAMED = 5  # of each kind of drop and conversion

Item = RowFault | dict[str, Any] | list[Any]  # a row that is parsed, or why it is none


@dataclass(slots=True)
class Fault:
    """What is wrong with one row, where, and what it should be."""

    line: int
    field: str
    kind: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.line}, {self.field}: {self.kind}; found {self.found}, wanted {self.wanted}"


@dataclass(slots=True)
class Tally:
    """How often each kind of thing happened, and the lines where it first did."""

    counts: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[int]] = field(default_factory=dict)

    def add(self, kind: str, line: int) -> None:
        self.counts[kind] += 1
        named = self.lines.setdefault(kind, [])
        if len(named) < LINES_NAMED:
            named.append(line)

    def extend(self, later: Tally, base: int) -> None:
        self.counts.update(later.counts)
        for kind, lines in later.lines.items():
            named = self.lines.setdefault(kind, [])
            named += [base + line for line in lines[: LINES_NAMED - len(named)]]


@dataclass(slots=True)
class Scan:
    """What is known of the rows that were read, in their order."""

    prompt_hashes: bytearray = field(default_factory=bytearray)  # 16 bytes a kept row
    row_hashes: bytearray = field(default_factory=bytearray)  # likewise
    sizes: array[int] = field(default_factory=lambda: array("I"))  # bytes of its canonical line, newline included
    lines: array[int] = field(default_factory=lambda: array("I"))  # the line of the source that it came from
    extras: bytearray = field(default_factory=bytearray)  # 1: it carries fields that the API does not know
    n_lines: int = 0
    n_read: int = 0  # rows
    kinds: Counter[Kind] = field(default_factory=Counter)
    first_line: dict[Kind, int] = field(default_factory=dict)
    conversions: Tally = field(default_factory=Tally)
    drops: Tally = field(default_factory=Tally)
    fault_kinds: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, number: int, fault: RowFault) -> None:
        self.fault_kinds[fault.kind] += 1
        if len(self.faults) < FAULTS_IN_FULL:
            self.faults.append(Fault(number, fault.field, fault.kind, _without_secrets(fault.found), fault.wanted))

    def count(self, kind: Kind, n: int, first_line: int) -> None:
        """Some rows were of a kind, the first of them on this line."""
        self.kinds[kind] += n
        self.first_line[kind] = min(self.first_line.get(kind, first_line), first_line)

    def extend(self, later: Scan) -> None:
        """Add what the next part of the file gave, whose lines were counted from 1."""
        base = self.n_lines
        self.n_lines += later.n_lines
        self.prompt_hashes += later.prompt_hashes
        self.row_hashes += later.row_hashes
        self.sizes += later.sizes
        self.lines += array("I", [base + line for line in later.lines])
        self.extras += later.extras
        self.n_read += later.n_read
        self.kinds.update(later.kinds)
        for kind, line in later.first_line.items():
            self.first_line.setdefault(kind, base + line)
        self.conversions.extend(later.conversions, base)
        self.drops.extend(later.drops, base)
        self.fault_kinds.update(later.fault_kinds)
        for fault in later.faults[: FAULTS_IN_FULL - len(self.faults)]:
            fault.line += base
            self.faults.append(fault)


class Sink(Protocol):
    """Where canonical lines go. changed: whether they are not, byte for byte, what was read."""

    def write(self, lines: bytes, *, changed: bool) -> None: ...


class FileSink:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, lines: bytes, *, changed: bool) -> None:
        self._file.write(lines)


class NoSink:
    def write(self, lines: bytes, *, changed: bool) -> None:
        pass


class _Kept(NamedTuple):
    """A row of use: its canonical line, and what is kept of it."""

    line: bytes  # without its newline
    kind: Kind
    prompt_hash: bytes
    row_hash: bytes
    extra: bool


class Scanner:
    """Takes rows one after another, in the file's order, and writes the canonical ones."""

    def __init__(self, sink: Sink) -> None:
        self.scan = Scan()
        self._sink = sink
        self._reader = Reader()

    def take_row(self, number: int, item: Item) -> None:
        """One row that is parsed already, with its number."""
        scan = self.scan
        scan.n_read += 1
        if isinstance(item, RowFault):
            scan.fault(number, item)
        elif row := self._convert(number, item):
            scan.prompt_hashes += row.prompt_hash
            scan.row_hashes += row.row_hash
            scan.sizes.append(len(row.line) + 1)
            scan.lines.append(number)
            scan.extras.append(row.extra)
            scan.count(row.kind, 1, number)
            self._sink.write(row.line + b"\n", changed=True)

    def take_lines(self, lines: bytes | RowFault) -> None:
        """The next lines of JSON, or what is wrong with the next line."""
        scan = self.scan
        if isinstance(lines, RowFault):
            scan.n_lines += 1
            scan.n_read += 1
            scan.fault(scan.n_lines, lines)
            self._sink.write(b"", changed=True)
            return
        block, first = Block(lines), scan.n_lines + 1
        kept, extras = np.zeros((2, len(block)), dtype=np.bool_)
        hashes = np.zeros((2, len(block)), dtype=f"S{HASH_BYTES}")  # of prompts, and of rows
        sizes = block.ends - block.starts
        for ready in block.find_ready():
            kept[ready.lines] = True
            for of, found in enumerate((ready.prompt_hashes, ready.row_hashes)):
                hashes[of, ready.lines] = np.frombuffer(found, dtype=hashes.dtype)
            scan.count(ready.kind, len(ready.lines), first + int(ready.lines[0]))
            scan.n_read += len(ready.lines)
        rewritten: dict[int, bytes] = {}
        for i in np.flatnonzero(~kept).tolist():
            line = lines[block.starts[i] : block.ends[i]]
            row = self._take_line(first + i, line.strip())
            canonical = row.line + b"\n" if row else b""
            if canonical != line:
                rewritten[i] = canonical
            if row:
                kept[i], hashes[:, i], sizes[i], extras[i] = True, row[2:4], len(canonical), row.extra
                scan.count(row.kind, 1, first + i)
        scan.prompt_hashes += hashes[0, kept].tobytes()
        scan.row_hashes += hashes[1, kept].tobytes()
        scan.sizes.frombytes(sizes[kept].astype(np.uint32).tobytes())
        scan.lines.frombytes((first + np.flatnonzero(kept)).astype(np.uint32).tobytes())
        scan.extras += extras[kept].tobytes()
        scan.n_lines += len(block)
        self._sink.write(block.rewritten(rewritten) if rewritten else lines, changed=bool(rewritten))

    def _take_line(self, number: int, raw: bytes) -> _Kept | None:
        """None for a row of no use and a blank line."""
        if not raw:
            return None
        self.scan.n_read += 1
        if ready := self._reader.read(raw):
            return _Kept(raw, ready.kind, prompt_hash(ready.prompt), row_hash(ready.compact), extra=False)
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            self.scan.fault(number, not_json(raw, error))
            return None
        return self._convert(number, value, raw)

    def _convert(self, number: int, value: Any, raw: bytes | None = None) -> _Kept | None:
        scan = self.scan
        try:
            if raw and raw.count(b'"') != n_quotes(value):
                check_keys(raw)
            row = convert(value)
            data = orjson.dumps(row.value)
        except RowFault as fault:
            scan.fault(number, fault)
        except RowDropped as dropped:
            scan.drops.add(str(dropped), number)
        except (TypeError, ValueError, RecursionError) as error:  # what JSON cannot carry
            scan.fault(number, not_writable(error))
        else:
            if len(data) <= MAX_ROW_BYTES:
                for note in row.conversions:
                    scan.conversions.add(note, number)
                known = data if not row.extra else orjson.dumps({k: v for k, v in row.value.items() if k in API_FIELDS})
                return _Kept(data, row.kind, prompt_hash(row.prompt), row_hash(known), row.extra)
            scan.fault(number, too_long(len(data), MAX_ROW_BYTES))
        return None


def without_mark(lines: bytes | RowFault, sink: Sink) -> bytes | RowFault:
    """A file's first lines without the byte order mark that some editors put before them."""
    if isinstance(lines, RowFault) or not lines.startswith(BOM):
        return lines
    sink.write(b"", changed=True)
    return lines.removeprefix(BOM)


def _without_secrets(found: str) -> str:
    """What a fault quotes of a row ends up in messages and logs, where no key may be."""
    from preference.findings import find  # 0.5 s that files without faults need not pay

    kinds = find(found)
    return f"text that is not shown, since it holds: {', '.join(sorted(kinds))}" if kinds else found
