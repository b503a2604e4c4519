"""The loop over all rows of a dataset: canonical bytes out, hashes and counts kept, every fault noted.

What is kept for each row is 41 bytes, so that three million rows fit; the rows themselves only pass through.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

import orjson

from preference.fingerprints import prompt_hash, row_hash
from preference.formats_lines import BOM
from preference.formats_ready import Reader, take_pairs
from preference.formats_rows import Kind, RowDropped, RowFault, convert, shown, too_long

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
    """Where canonical lines go. n_changed: how many lines of what was read are not among them as they were."""

    def write(self, lines: list[bytes], n_changed: int) -> None: ...


class FileSink:
    def __init__(self, file: IO[bytes]) -> None:
        self._write = file.writelines

    def write(self, lines: list[bytes], n_changed: int) -> None:
        self._write(lines)


class NoSink:
    def write(self, lines: list[bytes], n_changed: int) -> None:
        pass


class Scanner:
    """Takes rows one after another, in the file's order, and writes the canonical ones."""

    def __init__(self, sink: Sink) -> None:
        self.scan = Scan()
        self._sink = sink
        self._reader = Reader()

    def take_row(self, number: int, item: Item) -> None:
        """One row that is parsed already, with its number."""
        self.scan.n_read += 1
        if isinstance(item, RowFault):
            self.scan.fault(number, item)
        elif data := self._convert(number, item):
            self._sink.write([data + b"\n"], 1)

    def take_lines(self, lines: list[bytes] | RowFault) -> None:
        """The next lines of JSON, or what is wrong with the next line."""
        scan = self.scan
        if isinstance(lines, RowFault):
            scan.n_lines += 1
            scan.n_read += 1
            scan.fault(scan.n_lines, lines)
            self._sink.write([], 1)
            return
        n_ready = self._take_pairs(lines)
        if n_ready == len(lines):
            self._sink.write(lines, 0)
            return
        out, n_changed = lines[:n_ready], 0
        for line in lines[n_ready:]:
            scan.n_lines += 1
            raw = line.strip()
            canonical = self._take_line(scan.n_lines, raw)
            if canonical is raw and len(line) == len(raw) + 1 and line.endswith(b"\n"):
                out.append(line)
                continue
            n_changed += 1
            if canonical is not None:
                out.append(canonical + b"\n")
        self._sink.write(out, n_changed)

    def _take_pairs(self, lines: list[bytes]) -> int:
        """How many lines, from the first on, the quick way could take."""
        found, scan = take_pairs(lines), self.scan
        if n := len(found.sizes):
            scan.prompt_hashes += b"".join(found.prompt_hashes)
            scan.row_hashes += b"".join(found.row_hashes)
            scan.sizes.extend(found.sizes)
            scan.lines.extend(range(scan.n_lines + 1, scan.n_lines + n + 1))
            scan.extras += bytes(n)
            scan.first_line.setdefault("pairs", scan.n_lines + 1)
            scan.kinds["pairs"] += n
            scan.n_read += n
            scan.n_lines += n
        return n

    def _take_line(self, number: int, raw: bytes) -> bytes | None:
        """The row's canonical form, the same object where it is that; None for one of no use and a blank line."""
        if not raw:
            return None
        self.scan.n_read += 1
        if texts := self._reader.read(raw):
            self._keep(number, len(raw), *texts)
            return raw
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            self.scan.fault(number, not_json(raw, error))
            return None
        return self._convert(number, value, raw)

    def _convert(self, number: int, value: Any, raw: bytes | None = None) -> bytes | None:
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
            scan.fault(number, _not_writable(error))
        else:
            if len(data) <= MAX_ROW_BYTES:
                for note in row.conversions:
                    scan.conversions.add(note, number)
                self._keep(number, len(data), row.kind, row.prompt, row.chosen, row.rejected, row.tools, row.extra)
                return data
            scan.fault(number, too_long(len(data), MAX_ROW_BYTES))
        return None

    def _keep(
        self,
        number: int,
        size: int,
        kind: Kind,
        prompt: str,
        chosen: str,
        rejected: str,
        tools: str = "",
        extra: bool = False,
    ) -> None:
        scan = self.scan
        scan.prompt_hashes += prompt_hash(prompt)
        scan.row_hashes += row_hash(prompt, chosen, rejected, tools)
        scan.sizes.append(size + 1)
        scan.lines.append(number)
        scan.extras.append(extra)
        if kind not in scan.first_line:
            scan.first_line[kind] = number
        scan.kinds[kind] += 1


def without_mark(lines: list[bytes] | RowFault, sink: Sink) -> list[bytes] | RowFault:
    """A file's first lines without the byte order mark that some editors put before them."""
    if isinstance(lines, RowFault) or not lines[0].startswith(BOM):
        return lines
    sink.write([], 1)
    return [lines[0].removeprefix(BOM), *lines[1:]]


def _without_secrets(found: str) -> str:
    """What a fault quotes of a row ends up in messages and logs, where no key may be."""
    from preference.findings import find  # 0.5 s that files without faults need not pay

    kinds = find(found)
    return f"text that is not shown, since it holds: {', '.join(sorted(kinds))}" if kinds else found


def _not_writable(error: Exception) -> RowFault:
    if "surrogates" in str(error):
        return RowFault("row", "not UTF-8", "bytes that are no UTF-8, or half a surrogate pair", "UTF-8 text")
    return RowFault("row", "not JSON", str(error), "text, numbers, lists and objects")


def n_quotes(value: Any) -> int:
    """Quotation marks of a value as JSON, those in its texts included (a few write them as a number, \\u0022)."""
    if isinstance(value, str):
        return 2 + value.count('"')
    if isinstance(value, dict):
        return sum(2 + key.count('"') + n_quotes(kept) for key, kept in value.items())
    return sum(map(n_quotes, value)) if isinstance(value, list) else 0


def check_keys(raw: bytes) -> None:
    """Raises RowFault where an object of this JSON gives a key twice: readers differ in which one they take."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        for fault in repeated_keys(pairs):
            raise fault

    json.loads(raw, object_pairs_hook=check)


def repeated_keys(pairs: list[tuple[str, Any]]) -> list[RowFault]:
    """Of an object's keys and values in their order."""
    names = Counter(name for name, _ in pairs)
    wanted = "each name once in an object"
    return [
        RowFault(
            name if name.isidentifier() and len(name) < 40 else shown(name), "given twice", f"it {n} times", wanted
        )
        for name, n in names.items()
        if n > 1
    ]


def not_json(raw: bytes, error: Exception) -> RowFault:
    """Why the parser gave up, in words that lead to the repair."""
    if b"}\r{" in raw.replace(b"\r\r", b"\r"):
        return RowFault("row", "lines end in CR alone", "several rows in one line", "lines that end in LF or CRLF")
    if b"\0" in raw:
        return RowFault("row", "NUL bytes", f"{raw.count(0):,} NUL bytes", "UTF-8 text without them")
    try:
        text = raw.decode()
    except UnicodeDecodeError as wrong:
        if raw[wrong.start] == 0xED and wrong.reason == "invalid continuation byte":
            return RowFault("row", "lone surrogate", f"half a surrogate pair at byte {wrong.start}", "whole characters")
        found = f"byte 0x{raw[wrong.start]:02x} at position {wrong.start}"
        return RowFault("row", "not UTF-8", found, "a file saved as UTF-8")
    if "surrogate" in str(error):
        return RowFault("row", "lone surrogate", str(error), "whole characters: half a \\u pair is no text")
    found = f"{error}; the line starts with {text[:40]!r}"
    return RowFault("row", "broken JSON", found, "one JSON object a line")
