"""Hashes that decide what counts as the same prompt and the same row, on any machine and in any order.

XXH3-128, for its speed: these hashes keep prompts apart, they do not keep secrets.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from xxhash import xxh3_128_digest, xxh3_128_hexdigest

HASH_BYTES = 16

_SPACES = "\n\t\r\x0b\x0c\x1c\x1d\x1e\x1f"  # ASCII's white space but for the space, the likeliest first


def normalise(text: str) -> str:
    """The text as the split compares it: NFC, case-folded, runs of white space as one space.

    NFC comes last, too: case folding may take a composed letter apart.
    """
    if text.isascii():
        text = text.lower()
        for space in _SPACES:  # nine quick looks: splitting and joining would take three times as long
            if space in text:
                text = text.replace(space, " ")
        while "  " in text:
            text = text.replace("  ", " ")
        return text.strip(" ")
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(text.split())


def prompt_text(messages: Iterable[Mapping[str, Any]]) -> str:
    """What the hash of a prompt is taken of: all its messages, system prompt included, without the roles."""
    return "\n".join(str(message["content"]) for message in messages)


def prompt_hash(text: str) -> bytes:
    """16 bytes that are equal for prompts that differ only in case, Unicode form or white space."""
    return xxh3_128_digest(normalise(text).encode())


def prompt_id(messages: Iterable[Mapping[str, Any]]) -> str:
    """prompt_hash of a chat prompt, as 32 hex digits."""
    return xxh3_128_hexdigest(normalise(prompt_text(messages)).encode())


# Equal for exact duplicates only: of a canonical row as compact JSON, without the fields that the API does not know.
row_hash = xxh3_128_digest
