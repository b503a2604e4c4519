"""What is never taken from a text, checked before anything else is done with it. Imports no grammar."""

from __future__ import annotations

import re

MAX_CHARS = 8000
_KEY = re.compile(
    r"\b(?:api[ _-]?key|secret|token|password|passwd|bearer|credentials?)\b\W{0,3}(?:is\b|=|:)?\W{0,3}"
    r"(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{16,}",
    re.I,
)


class InstructionRefused(ValueError):
    """The text cannot be taken at all; the message says why, and never repeats a key."""


def check_text(text: str) -> None:
    """Raises InstructionRefused where the text cannot be kept or shown."""
    if len(text) > MAX_CHARS:
        raise InstructionRefused(f"the text has {len(text):,} characters; at most {MAX_CHARS:,} are read. Shorten it.")
    if not text:
        return
    from preference.findings import secrets  # half a second, for the few that need it

    kinds = secrets(text)
    if kinds or _KEY.search(text):
        raise InstructionRefused(
            f"the text holds what looks like a key ({', '.join(sorted(kinds)) or 'by the word before it'}). Keys "
            "belong in a saved block or the environment, and what was typed here may be known to others now: "
            "replace the key, and give the text without it."
        )
