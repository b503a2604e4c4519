"""The quick way: which lines of a block are canonical rows as they stand, found by numpy and not row by row.

A line is taken where it is, byte for byte, one of a few shapes around texts that no rule can object to: UTF-8
without control characters, no escapes but the short ones, which every writer of JSON uses, and no white space where
it would matter. A line that is not taken need not be wrong: it has to be looked at by itself. numpy lets go of
Python's lock, so that threads can share the work.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
from xxhash import xxh3_128_digest

from preference.fingerprints import prompt_hash, row_hash
from preference.formats_rows import Kind

Places = npt.NDArray[np.intp]  # offsets in a block, or numbers of its lines
Mask = npt.NDArray[np.bool_]

_QUOTE, _BACKSLASH, _SPACE, _NEWLINE = b'"\\ \n'
_COMPACT, _SPACED = (",", ":"), (", ", ": ")  # how the two usual writers of JSON separate


class _Shape:
    """A canonical row as it is written: literals, and between them its messages' texts, those of the prompt first."""

    def __init__(self, kind: Kind, n_prompt_texts: int, row: object, separators: tuple[str, str]) -> None:
        self.kind, self.n_prompt_texts = kind, n_prompt_texts
        self.literals = _literals(row, separators)
        self.n_quotes = sum(literal.count(b'"') for literal in self.literals)
        self.is_compact = separators == _COMPACT
        self.compact = b"%b".join(_literals(row, _COMPACT)).removesuffix(b"\n")


def _literals(row: object, separators: tuple[str, str]) -> list[bytes]:
    return f"{json.dumps(row, separators=separators)}\n".encode().split(b"\\u0000")


def _shapes() -> Iterator[_Shape]:
    system, user, answer = ({"role": role, "content": "\0"} for role in ("system", "user", "assistant"))
    for separators in (_COMPACT, _SPACED):
        for messages in ([user], [system, user]):
            pair = {"input": {"messages": messages}, "preferred_output": [answer], "non_preferred_output": [answer]}
            yield _Shape("pairs", len(messages), pair, separators)
            yield _Shape("prompts", len(messages), {"messages": messages}, separators)


_SHAPES = tuple(_shapes())


def _table(characters: bytes) -> Mask:
    table = np.zeros(256, dtype=np.bool_)
    table[list(characters)] = True
    return table


_SHORT_ESCAPES = _table(b'"\\bfnrt')  # not \/ and \u: what these stand for may be written otherwise, too
_SPACE_ESCAPES = _table(b"fnrt")


_kept = threading.local()


@dataclass(frozen=True)
class ReadyRows:
    """The rows of one shape in a block that are canonical as they stand."""

    kind: Kind
    lines: Places  # (n_rows,): which lines of the block they are, ascending
    prompt_hashes: bytes  # 16 a row
    row_hashes: bytes  # likewise


@dataclass(frozen=True)
class _Texts:
    """Where the texts of some lines begin and end in a block."""

    lines: Places  # (n_rows,)
    begins: Places  # (n_texts, n_rows)
    ends: Places  # likewise

    def where(self, mask: Mask) -> _Texts:
        return self if mask.all() else _Texts(self.lines[mask], self.begins[:, mask], self.ends[:, mask])


class Block:
    """Whole lines of a file; only the last one may lack its newline."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._bytes = np.frombuffer(data, dtype=np.uint8)
        at = self._find_marks()
        found = self._bytes[at]
        self.ends: Places = at[found == _NEWLINE] + 1
        if not data.endswith(b"\n"):
            self.ends = np.append(self.ends, len(data))
        self.starts: Places = np.concatenate([np.zeros(1, np.intp), self.ends[:-1]])
        self._are_ascii = np.minimum.reduceat(self._bytes.view(np.int8), self.starts) >= 0
        wrong = [at[(found < _SPACE) & (found != _NEWLINE)]]
        backslashes = np.flatnonzero(found == _BACKSLASH)
        self._backslashes = at[backslashes]
        if len(backslashes):
            escaping = backslashes[_are_first_third_fifth(self._backslashes)]
            escaped = np.minimum(at[escaping] + 1, len(data) - 1)
            wrong.append(escaped[~_SHORT_ESCAPES[self._bytes[escaped]]])
            found[escaping[self._bytes[escaped] == _QUOTE] + 1] = 0  # marks that end no text
        self._quotes = at[found == _QUOTE]
        self._first_quotes = np.searchsorted(self._quotes, self.starts)
        self._n_quotes = np.diff(self._first_quotes, append=len(self._quotes))
        self._n_quotes[np.searchsorted(self.ends, np.concatenate(wrong), side="right")] = 0  # as no shape has

    def __len__(self) -> int:
        return len(self.ends)

    def find_ready(self) -> list[ReadyRows]:
        """By shape; no line is in two of them."""
        found = []
        for shape in _SHAPES:
            lines = np.flatnonzero(self._n_quotes == shape.n_quotes)
            if len(lines) and len((rows := self._take(shape, lines)).lines):
                self._n_quotes[rows.lines] = 0
                found.append(rows)
        return found

    def rewritten(self, lines: dict[int, bytes]) -> bytes:
        """The block with other lines in the place of some; b"" leaves one out."""
        out, done = [], 0
        for i, line in lines.items():
            out += [self.data[done : self.starts[i]], line]
            done = self.ends[i]
        return b"".join([*out, self.data[done:]])

    def _find_marks(self) -> Places:
        """Quotation marks, backslashes and control characters."""
        marks, more = _masks(len(self.data))
        np.equal(self._bytes, _QUOTE, out=marks)
        marks |= np.equal(self._bytes, _BACKSLASH, out=more)
        marks |= np.less(self._bytes, _SPACE, out=more)
        return np.flatnonzero(marks)

    def _find_double_spaces(self) -> Places:
        spaces, doubled = _masks(len(self.data))
        np.equal(self._bytes, _SPACE, out=spaces)
        return np.flatnonzero(np.logical_and(spaces[1:], spaces[:-1], out=doubled[1:]))

    def _take(self, shape: _Shape, lines: Places) -> ReadyRows:
        texts = self._match(shape, lines)
        texts = texts.where(self._are_sound(shape, texts))
        texts = texts.where(self._are_utf8(texts.lines))
        if shape.is_compact:
            written = self._cut(self.starts[texts.lines], self.ends[texts.lines] - 1)
        else:
            written = [shape.compact % row for row in self._cut_rows(texts.begins, texts.ends)]
        return ReadyRows(shape.kind, texts.lines, self._prompt_hashes(shape, texts), b"".join(map(row_hash, written)))

    def _are_utf8(self, lines: Places) -> Mask:
        sound: Mask = self._are_ascii[lines]
        for i in np.flatnonzero(~sound).tolist():
            sound[i] = _is_utf8(self.data[self.starts[lines[i]] : self.ends[lines[i]]])
        return sound

    def _match(self, shape: _Shape, lines: Places) -> _Texts:
        """Those of the lines that are the shape's literals around texts without a bare quotation mark.

        A literal that stands in its place has its marks there, so the next mark after them ends the text.
        """
        *literals, last = shape.literals
        fits = np.ones(len(lines), dtype=np.bool_)
        at, quote = self.starts[lines], self._first_quotes[lines]
        begins, ends = [], []
        for literal in literals:
            fits &= self._stands(literal, at)
            quote = quote + literal.count(b'"')
            begins.append(at + len(literal))
            at = self._quotes[quote]
            ends.append(at)
        fits &= self._stands(last, at) & (at + len(last) == self.ends[lines])
        return _Texts(lines, np.array(begins), np.array(ends)).where(fits)

    def _stands(self, literal: bytes, at: Places) -> Mask:
        size = len(literal)
        n_places = len(self.data) - size + 1
        if n_places <= 0:
            return np.zeros(len(at), dtype=np.bool_)
        windows = np.ndarray((n_places,), f"V{size}", self.data, strides=(1,))
        found: Mask = windows[np.minimum(at, n_places - 1)] == np.void(literal)
        return found & (at < n_places)

    def _are_sound(self, shape: _Shape, texts: _Texts) -> Mask:
        """Rows whose texts are not empty, and whose answers differ, if not by white space at their ends alone."""
        sound = np.asarray(~self._begins_in_space(texts.begins).any(axis=0))
        if shape.kind == "prompts":
            return sound
        begins, ends = texts.begins[-2:], texts.ends[-2:]
        sound &= ~self._ends_in_space(ends).any(axis=0)
        of_one_size = np.flatnonzero(np.equal(*(ends - begins)))
        pairs = self._cut_rows(begins[:, of_one_size], ends[:, of_one_size])
        sound[of_one_size] &= np.array([chosen != rejected for chosen, rejected in pairs], dtype=np.bool_)
        return sound

    def _begins_in_space(self, at: Places) -> Mask:
        """Whether texts begin with white space, or are empty."""
        first = self._bytes[at]
        space: Mask = (first == _SPACE) | (first == _QUOTE)
        space |= (first == _BACKSLASH) & _SPACE_ESCAPES[self._bytes[at + 1]]
        wide = first > 127
        space[wide] = [_has_space(self.data[i : i + 3]) for i in at[wide].tolist()]
        return space

    def _ends_in_space(self, at: Places) -> Mask:
        """Whether texts end with white space; an escaped backslash before some letters counts as it, too."""
        last = self._bytes[at - 1]
        space: Mask = (last == _SPACE) | (self._bytes[at - 2] == _BACKSLASH) & _SPACE_ESCAPES[last]
        wide = last > 127
        space[wide] = [_has_space(self.data[i - 3 : i]) for i in at[wide].tolist()]
        return space

    def _prompt_hashes(self, shape: _Shape, texts: _Texts) -> bytes:
        """As prompt_hash gives them; where there are only capitals to fold, the texts need not be decoded."""
        begins, ends = texts.begins[: shape.n_prompt_texts], texts.ends[: shape.n_prompt_texts]
        prompts = self._cut(begins[0], ends[0])
        if shape.n_prompt_texts > 1:
            prompts = list(map(b" ".join, self._cut_rows(begins, ends)))
        hashes = list(map(xxh3_128_digest, map(bytes.lower, prompts)))
        odd = (self._bytes[ends - 1] == _SPACE).any(axis=0)
        for places in (self._backslashes, self._find_double_spaces()):
            odd |= np.searchsorted(places, begins[0]) < np.searchsorted(places, ends[-1])
        for i in np.flatnonzero(~self._are_ascii[texts.lines]).tolist():
            odd[i] |= not prompts[i].isascii()
        for i in np.flatnonzero(odd).tolist():
            hashes[i] = prompt_hash(orjson.loads(b'"%b"' % prompts[i]))
        return b"".join(hashes)

    def _cut(self, begins: Places, ends: Places) -> list[bytes]:
        data = self.data
        return [data[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]

    def _cut_rows(self, begins: Places, ends: Places) -> Iterator[tuple[bytes, ...]]:
        """Of each row its texts as they are written."""
        return zip(*map(self._cut, begins, ends), strict=True)


def _are_first_third_fifth(places: Places) -> Mask:
    """Which places are an odd one in a row of neighbours: of backslashes, those that escape what comes next."""
    number = np.arange(len(places))
    goes_on = np.diff(places, prepend=-2) == 1
    return np.asarray((number - np.maximum.accumulate(np.where(goes_on, 0, number))) % 2 == 0)


def _masks(size: int) -> tuple[Mask, Mask]:
    """Two masks of this thread's own, used again: new ones of this size would be got from the system each time."""
    if not hasattr(_kept, "masks") or _kept.masks.shape[1] < size:
        _kept.masks = np.empty((2, size), dtype=np.bool_)
    one, other = _kept.masks[:, :size]
    return one, other


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _has_space(character: bytes) -> bool:
    """Whether white space is among what can be read of a piece of UTF-8."""
    return any(map(str.isspace, character.decode(errors="ignore")))
