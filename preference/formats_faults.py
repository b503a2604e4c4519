"""Why a row of somebody's data is not taken: it is faulty, or sound and of no use."""

from __future__ import annotations

from typing import Any


class RowFault(Exception):
    """The row is not what it should be; a person has to mend the file."""

    def __init__(self, field: str, kind: str, found: str, wanted: str) -> None:
        super().__init__(f"{field}: {kind}; found {found}, wanted {wanted}")
        self.field, self.kind, self.found, self.wanted = field, kind, found, wanted


class RowDropped(Exception):
    """The row is sound, and of no use here: args[0] is the rule it fell under."""


def too_long(size: int, limit: int) -> RowFault:
    return RowFault("row", "row too long", f"{size:,} bytes", f"at most {limit:,} bytes a row")


def shown(value: Any, limit: int = 80) -> str:
    """A value as a fault quotes it: short, on one line; never a whole row, which may be private."""
    if value is None:
        return "nothing"
    text = repr(value).replace("\n", "\\n")
    if isinstance(value, (str, list, dict)) and len(text) > limit:
        return f"{text[:limit]}… ({type(value).__name__} of {len(value):,})"
    return text
