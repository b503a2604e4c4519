"""An item of a sentence: its atoms by kind, its numbers and their doubts, and a field that it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from preference.instruction_parse import Item
from preference.instruction_scan import Atom

RANGE = "That is a range"  # questions that only a grid has to ask: see instruction_search.py
_NUMBERS = {"INT", "DEC", "SCI", "COMMANUM", "NUMS"}


class Found(BaseModel):
    """One field that an item gives; a question instead of a value where the words can be read in two ways."""

    field: str
    value: Any = None
    question: str = ""
    note: str = ""
    union: bool = False  # several mentions side by side add up
    implied: bool = False  # by something else that was said
    bare: bool = False  # nothing but a name or an amount: whatever is said with more words counts instead


class Said:
    """An item's atoms, by kind."""

    def __init__(self, item: Item, sentence: Sequence[Atom]) -> None:
        self.item = item
        self.atoms = [sentence[n] for n in item.at]
        self._sentence = sentence

    def of(self, *kinds: str) -> list[Atom]:
        return [a for a in self.atoms if a.kind in kinds]

    def has(self, *kinds: str) -> bool:
        return bool(self.of(*kinds))

    def beside(self, *kinds: str) -> bool:
        """Whether its sentence has such words anywhere."""
        return any(a.kind in kinds for a in self._sentence)

    def numbers(self) -> list[float]:
        return [
            float(x)
            for a in self.of(*_NUMBERS)
            if a.kind != "COMMANUM"
            for x in (a.value if a.kind == "NUMS" else [a.value])
        ]

    def under(self, rule: str) -> bool:
        return any(str(tree.data) == rule for tree in self.item.tree.iter_subtrees())

    def doubt(self, what: str) -> str:
        """Why the item's numbers cannot be taken as they stand; empty where they can."""
        if comma := self.of("COMMANUM", "COMMAPCT", "COMMAMONEY"):
            return (
                f"{comma[0].text!r} can be read in two ways: as one number with a decimal comma, or as two. "
                f"Which {what} is meant? Write decimals with a point, and a blank after a comma between numbers."
            )
        if self.under("range"):
            return f"{RANGE}, and a sweep needs its values: which {what} are to be tried?"
        if any(a.note == "k" for a in self.of("INT", "DEC")) and what.startswith(("context", "tokens")):
            return f"Is {self.of('INT', 'DEC')[0].text} to be read in thousands or in 1,024s? Give the exact {what}."
        return ""


Rule = Callable[[Said], Iterator[Found]]


def flag(field: str, value: Any) -> Rule:
    def read(said: Said) -> Iterator[Found]:
        yield Found(field=field, value=value)

    return read
