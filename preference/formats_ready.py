"""The short way for rows that are canonical as they stand: checked while they are parsed, in one call of C."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec
from xxhash import xxh3_128_digest

from preference.fingerprints import SPACES, normalise
from preference.formats_rows import Kind


class Texts(NamedTuple):
    """What hashes are taken of; the row's bytes go on as they are."""

    kind: Kind
    prompt: str
    chosen: str
    rejected: str


class _System(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["system"]
    content: str


class _User(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["user"]
    content: str


class _Assistant(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: Literal["assistant"]
    content: str


class _Input(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: tuple[_User]


class _SystemInput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: tuple[_System, _User]


class _Pair(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    input: _Input
    preferred_output: tuple[_Assistant]
    non_preferred_output: tuple[_Assistant]


class _SystemPair(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    input: _SystemInput
    preferred_output: tuple[_Assistant]
    non_preferred_output: tuple[_Assistant]


class _Prompt(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: tuple[_User]


class _SystemPrompt(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: tuple[_System, _User]


_decode_pair = msgspec.json.Decoder(_Pair).decode
_QUOTES = {_Pair: 32, _SystemPair: 40, _Prompt: 10, _SystemPrompt: 18}  # of keys, roles and contents
# bytes of a pair's line beside its three texts, as the two usual writers of JSON leave them
_COMPACT_BYTES, _SPACED_BYTES = 168, 183
_SPACED_START = b'{"input": {"messages": [{"role": "user", "content": "'
_OPEN, _BACKSLASH = ord("{"), b"\\"
_Row = _Pair | _SystemPair | _Prompt | _SystemPrompt
_NOT_READY = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Pairs(NamedTuple):
    """Hashes and sizes in bytes of lines, one each."""

    prompt_hashes: list[bytes]
    row_hashes: list[bytes]
    sizes: list[int]  # newline included


def take_pairs(lines: list[bytes]) -> Pairs:
    """The first lines, as far as they are canonical pairs without a system message: what most rows are.

    Lines have their newlines.

    One loop without calls, since at five microseconds a row every call shows; `Reader` and `fingerprints` say the
    same by name, and a test holds the two together.
    """
    prompt_hashes: list[bytes] = []
    row_hashes: list[bytes] = []
    sizes: list[int] = []
    decode, digest = _decode_pair, xxh3_128_digest
    try:
        for line in lines:
            row = decode(line)
            prompt = row.input.messages[0].content
            chosen, rejected = row.preferred_output[0].content, row.non_preferred_output[0].content
            escaped = _BACKSLASH in line
            if not prompt.isascii():
                normal = normalise(prompt)
            else:
                normal = prompt.lower()
                if escaped:  # white space but for spaces is escaped in JSON
                    for space in SPACES:
                        if space in normal:
                            normal = normal.replace(space, " ")
                while "  " in normal:
                    normal = normal.replace("  ", " ")
                normal = normal.strip(" ")
            good, bad = chosen.strip(), rejected.strip()
            if not normal or not good or not bad or good == bad or line[0] != _OPEN or line[-2:] != b"}\n":
                break
            texts = f"{prompt}\0{chosen}\0{rejected}\0".encode()
            beside = len(line) - (len(texts) - 3)
            if escaped:
                if "\0" in prompt or "\0" in chosen or "\0" in rejected:
                    break
                # one before each character that needs it; three times as fast as to count them
                beside -= len(line) - len(line.replace(_BACKSLASH, b""))
                beside += len(texts) - len(texts.replace(_BACKSLASH, b""))
            if (
                beside != _COMPACT_BYTES
                and not (beside == _SPACED_BYTES and line.startswith(_SPACED_START))
                and not _has_each_key_once(row, line, prompt, chosen, rejected)
            ):
                break
            prompt_hashes.append(digest(normal.encode()))
            row_hashes.append(digest(texts))
            sizes.append(len(line))
    except _NOT_READY:
        pass
    return Pairs(prompt_hashes, row_hashes, sizes)


class Reader:
    """Reads a line as the kind of row that the last one was, then as the other kinds."""

    def __init__(self) -> None:
        self._decoders: list[msgspec.json.Decoder[_Row]] = [
            msgspec.json.Decoder(kind) for kind in (_Pair, _Prompt, _SystemPair, _SystemPrompt)
        ]
        self._decode = self._decoders[0].decode

    def read(self, line: bytes) -> Texts | None:
        """None: the row has to be looked at more closely, and may be faulty."""
        try:
            return _texts(self._decode(line), line)
        except _NOT_READY:
            return self._read_otherwise(line)

    def _read_otherwise(self, line: bytes) -> Texts | None:
        for decoder in self._decoders:
            try:
                row = decoder.decode(line)
            except _NOT_READY:
                continue
            self._decode = decoder.decode
            return _texts(row, line)
        return None


def _texts(row: _Row, line: bytes) -> Texts | None:
    texts = _prompt_texts(row) if isinstance(row, _Prompt | _SystemPrompt) else _pair_texts(row)
    return texts if texts and _has_each_key_once(row, line, *texts[1:]) else None


def _has_each_key_once(row: _Row, line: bytes, *texts: str) -> bool:
    """By the quotation marks: readers differ in which value they take of a key that stands there twice."""
    n = len(line) - len(line.replace(b'"', b""))
    return n == _QUOTES[type(row)] + sum(text.count('"') for text in texts if '"' in text)


def _prompt_texts(row: _Prompt | _SystemPrompt) -> Texts | None:
    prompt = _prompt(row.messages)
    return Texts("prompts", prompt, "", "") if prompt else None


def _pair_texts(row: _Pair | _SystemPair) -> Texts | None:
    prompt = _prompt(row.input.messages)
    chosen, rejected = row.preferred_output[0].content, row.non_preferred_output[0].content
    good, bad = chosen.strip(), rejected.strip()
    if not prompt or not good or not bad or good == bad or "\0" in chosen or "\0" in rejected:
        return None
    return Texts("pairs", prompt, chosen, rejected)


def _prompt(messages: tuple[_User] | tuple[_System, _User]) -> str:
    """The messages' text; "" where one of them is empty or holds a NUL character."""
    first = messages[0].content
    if not first or first.isspace() or "\0" in first:
        return ""
    if len(messages) == 1:
        return first
    last = messages[1].content
    return "" if not last or last.isspace() or "\0" in last else f"{first}\n{last}"
