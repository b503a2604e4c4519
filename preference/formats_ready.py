"""One row that is canonical as it stands, however its JSON is written: checked while it is parsed, in one call of C."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

from preference.formats_rows import Kind


class ReadyRow(NamedTuple):
    """What hashes are taken of; the row's bytes go on as they are."""

    kind: Kind
    prompt: str
    compact: bytes  # the row as compact JSON


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


_QUOTES = {_Pair: 32, _SystemPair: 40, _Prompt: 10, _SystemPrompt: 18}  # of keys, roles and contents
_Row = _Pair | _SystemPair | _Prompt | _SystemPrompt
_encode = msgspec.json.Encoder().encode
_NOT_READY = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Reader:
    """Reads a line as the kind of row that the last one was, then as the other kinds."""

    def __init__(self) -> None:
        self._decoders: list[msgspec.json.Decoder[_Row]] = [
            msgspec.json.Decoder(kind) for kind in (_Pair, _Prompt, _SystemPair, _SystemPrompt)
        ]
        self._decode = self._decoders[0].decode

    def read(self, line: bytes) -> ReadyRow | None:
        """None: the row has to be looked at more closely, and may be faulty."""
        try:
            return _ready(self._decode(line), line)
        except _NOT_READY:
            return self._read_otherwise(line)

    def _read_otherwise(self, line: bytes) -> ReadyRow | None:
        for decoder in self._decoders:
            try:
                row = decoder.decode(line)
            except _NOT_READY:
                continue
            self._decode = decoder.decode
            return _ready(row, line)
        return None


def _ready(row: _Row, line: bytes) -> ReadyRow | None:
    kind: Kind = "prompts" if isinstance(row, _Prompt | _SystemPrompt) else "pairs"
    messages = row.messages if isinstance(row, _Prompt | _SystemPrompt) else row.input.messages
    prompt = [message.content for message in messages]
    if any(not text or text.isspace() for text in prompt):
        return None
    answers = []
    if isinstance(row, _Pair | _SystemPair):
        answers = [row.preferred_output[0].content, row.non_preferred_output[0].content]
        good, bad = answers[0].strip(), answers[1].strip()
        if not good or not bad or good == bad:
            return None
    texts = prompt + answers
    if any("\0" in text for text in texts) or not _has_each_key_once(row, line, texts):
        return None
    return ReadyRow(kind, "\n".join(prompt), _encode(row))


def _has_each_key_once(row: _Row, line: bytes, texts: list[str]) -> bool:
    """By the quotation marks: readers differ in which value they take of a key that stands there twice."""
    n = len(line) - len(line.replace(b'"', b""))
    return n == _QUOTES[type(row)] + sum(text.count('"') for text in texts if '"' in text)
