"""What is wrong with a row's JSON, in words that lead to the repair."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from preference.formats_faults import RowFault, shown


def not_writable(error: Exception) -> RowFault:
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
