"""Rows out of a JSON array, a bounded piece in memory at a time; a broken one does not hide what is wrong after it."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import IO, Any

from preference.formats_faults import RowFault, too_long
from preference.formats_json import repeated_keys

_CHUNK_CHARS = 1 << 20
_SPACE = re.compile(r"\s*")
_MARK = re.compile(r'\\(?s:.)?|["\[\]{},]')  # what tells texts and brackets apart; a mark escaped with its backslash
_SHOWN_CHARS = 20


def read_json_array(file: IO[bytes], limit: int) -> Iterator[tuple[int, Any]]:
    """Elements with their numbers from 1; none of them is held longer than it takes to give it on.

    A broken element is a fault, and is passed over as far as its quotes and brackets tell. limit: characters of one.
    """
    text = _Buffer(file)
    text.skip_to_elements()
    number = 0
    char = text.next()
    while char and char != "]":
        number += 1
        yield number, text.take_element(limit)
        char = text.next()
        if char == ",":
            text.at += 1
            if (char := text.next()) == "]":
                yield number, _broken("a comma between it and the array's end", "a row after each comma")
        elif char and char != "]":
            yield number, _broken("no comma after it", "a comma between rows")
    if not char and not text.cut:
        yield number, _broken("the array does not end", "a ] after the last row")
    text.at += 1
    if char and (rest := text.next()):
        yield number, _broken(f"{rest!r} after the array's end", "one array a file, and nothing after it")


class _Buffer:
    """Characters of the file from a place on, refilled as they are used up."""

    def __init__(self, file: IO[bytes]) -> None:
        # bytes that are no UTF-8 become lone surrogates, which are found when the row is written
        self._bytes = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._file = file
        self.chars, self.at = "", 0
        self._at_end = False  # of the file
        self.cut = False  # the file ended within an element
        self._faults: list[RowFault] = []
        self._decoder = json.JSONDecoder(
            parse_constant=self._constant, parse_float=self._float, object_pairs_hook=self._object
        )

    @property
    def held(self) -> int:
        return len(self.chars) - self.at

    def more(self) -> bool:
        """As many characters again as are held; False at the file's end."""
        if self._at_end:  # nothing is moved once more for each broken element
            return False
        data = self._file.read(max(_CHUNK_CHARS, self.held))
        self._at_end = not data
        self.chars = self.chars[self.at :] + self._bytes.decode(data, not data)
        self.at = 0
        return bool(data)

    def skip_to_elements(self) -> None:
        self.more()
        self.at = self.chars.index("[") + 1

    def next(self) -> str:
        """The next character that is no white space, which stays; "" at the file's end."""
        while True:
            match = _SPACE.match(self.chars, self.at)
            self.at = match.end() if match else self.at
            if self.held:
                return self.chars[self.at]
            if not self.more():
                return ""

    def take_element(self, limit: int) -> Any:
        """The value that begins here, or what is wrong with it."""
        while True:
            self._faults.clear()
            try:
                value, self.at = self._decoder.raw_decode(self.chars, self.at)
            except RecursionError:
                found = "brackets within brackets, too deep to read"
            except ValueError as error:  # a broken one, or one that is not all here yet
                found = self._show(error)
                if self._may_go_on(error) and self.held <= limit and self.more():
                    continue
            else:
                return self._faults[0] if self._faults else value
            length = self._pass_over()
            if length > limit:
                return too_long(length, limit)
            return _broken(found + ("; the file ends within it" if self.cut else ""), "JSON objects between commas")

    def _may_go_on(self, error: ValueError) -> bool:
        """Whether what is not read yet may mend it: a text without an end, or an error at the end of what is held.

        Any other needs no more characters, which would be looked through again for each broken element.
        """
        if not isinstance(error, json.JSONDecodeError):
            return False
        return error.msg.startswith("Unterminated") or error.pos >= len(self.chars) - _SHOWN_CHARS

    def _show(self, error: ValueError) -> str:
        if not isinstance(error, json.JSONDecodeError):
            return "a number of thousands of digits"
        near = self.chars[max(self.at, error.pos - _SHOWN_CHARS) : error.pos + _SHOWN_CHARS]
        return f"{error.msg} near {near!r}"

    def _pass_over(self) -> int:
        """To the end of the element that begins here; how many characters that were."""
        depth, in_text, passed = 0, False, 0
        while True:
            start = self.at
            for match in _MARK.finditer(self.chars, start):
                mark = match[0]
                if in_text:
                    in_text = mark != '"'
                elif mark == '"':
                    in_text = True
                elif mark in "[{":
                    depth += 1
                elif depth == 0 and mark in ",]":
                    self.at = match.start()
                    return passed + self.at - start
                elif mark in "]}" and (depth := depth - 1) <= 0:
                    self.at = match.end()
                    return passed + self.at - start
            # a backslash at the end of what is held waits for what it escapes
            self.at = len(self.chars) - (len(self.chars) - len(self.chars.rstrip("\\"))) % 2
            passed += self.at - start
            if not self.more():
                self.cut, self.at = True, len(self.chars)
                return passed

    def _constant(self, name: str) -> None:
        self._faults.append(_broken(name, "a number or null, as JSON has it"))

    def _float(self, digits: str) -> float:
        if math.isinf(number := float(digits)):
            self._faults.append(_broken(digits[:40], "a number that a computer can hold"))
        return number

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            self._faults += repeated_keys(pairs)
        return value


def _broken(found: str, wanted: str) -> RowFault:
    return RowFault("row", "broken JSON", found, wanted)
