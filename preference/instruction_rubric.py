"""A rubric in the user's own words: where it begins in a sentence, and that all after it belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from preference.instruction_scan import Atom

_JUDGING = {"JUDGE", "EVAL", "SCORE", "RUBRIC"}
_NAMES = set(
    "EVALUATOR_REF CODE MODEL_NAME EVALUATOR NAME DATASET_REF FILE INT DEC PCT UPTO ATLEAST RATIO PATH".split()
)
_LINKS = {"BY", "WITH", "ON", "EQ", "AS", "TO", "OF", "KEEP", "RUBRIC", "JUDGE", "AND"}


class Cut(NamedTuple):
    """A sentence with a rubric in it."""

    before: list[Atom]
    rubric: Atom  # RUBRIC_TEXT
    inside: list[Atom]  # what an unquoted rubric is made of
    after: list[Atom]


def rubric_of(text: str, sentence: Sequence[Atom]) -> Cut | None:
    """The sentence cut where its rubric begins and ends; None where it has none."""
    row = [a for a in sentence if a.kind != "LINE"]
    while row and row[0].note == "bullet":
        row = row[1:]
    for i, atom in enumerate(row):
        if atom.kind in _JUDGING:
            first = _after_links(row, i)
        elif atom.kind == "PREFER" and _opens(row, i):
            first = i
        else:
            continue
        if first is None or first >= len(row):
            continue
        return _cut(text, row, i, first)
    return None


def _after_links(row: Sequence[Atom], i: int) -> int | None:
    """Where the rubric's own words begin after "judge by:", "rubric:", "evaluate by preferring"; None for no rubric."""
    j = i + 1
    while j < len(row) and (
        row[j].kind in _LINKS
        or row[j].note == "bullet"
        or (row[j].filler and j + 1 < len(row) and row[j + 1].kind in _LINKS)
    ):
        j += 1
    links = {a.kind for a in row[i + 1 : j]}
    if j >= len(row):
        return None
    start = row[j]
    k = j
    while k < len(row) and row[k].filler:
        k += 1
    real = row[k] if k < len(row) else start
    if start.kind == "QUOTED":
        return j if links or row[i].kind == "RUBRIC" else None
    kind = row[i].kind
    if kind == "JUDGE" and real.kind == "PREFER":  # the judge should prefer ...
        return k
    if kind == "RUBRIC" and "EQ" in links and real.kind == "INT":  # rubric: 1) ... 2) ...
        return j
    if real.kind in _NAMES or real.kind in ("HELDOUT", "DATASET", "BASE") or start.kind in ("END", "COMMA", "SEMI"):
        return None
    if kind == "RUBRIC":
        return j if links & {"EQ", "BY", "AS", "TO", "OF"} or start.filler else None
    if "EQ" in links and kind == "JUDGE":
        return j
    if "BY" in links and kind in ("JUDGE", "EVAL", "SCORE"):
        return j
    if kind == "JUDGE" and links & {"ON", "WITH"} and real.kind in ("WORD", "PREFER"):
        return j
    if kind == "JUDGE" and "ON" in links:
        return j
    if kind in ("JUDGE", "EVAL") and not links and real.text.casefold() in ("whether", "how", "which", "if", "for"):
        return j
    return None


def _opens(row: Sequence[Atom], i: int) -> bool:
    """Whether "prefer …" begins a sentence or a clause, and goes on about answers rather than settings."""
    before = [a for a in row[:i] if not a.filler]
    after = [a for a in row[i + 1 :] if not a.filler and a.kind != "END"]
    opens = not before or before[-1].kind in ("SEMI", "COMMA", "EQ", "END", "OTHER")
    return opens and bool(after) and after[0].kind not in {"MODEL_NAME", "DPO", "ORPO", "LR", "RANK", "BETA", "SMALL"}


def _cut(text: str, row: list[Atom], i: int, first: int) -> Cut:
    start = row[i].start
    if row[first].kind == "QUOTED":
        atom = Atom("RUBRIC_TEXT", text[start : row[first].end], start, row[first].end, value=row[first].value)
        return Cut(row[:i], atom, [], row[first + 1 :])
    listed = any(a.note == "bullet" for a in row[i:])
    stop = next((j for j in range(first, len(row)) if row[j].kind == "SEMI" and not listed), len(row))
    end = stop
    while end > first and row[end - 1].kind in ("END", "COMMA"):
        end -= 1
    words = text[row[first].start : row[end - 1].end]
    if listed:  # the bullets are kept: a list of criteria is a good rubric
        begin = next(a for a in row[i:] if a.note == "bullet").start
        lines = text[begin : row[end - 1].end].splitlines()
        value = "\n".join(" ".join(line.split()) for line in lines if line.strip())
    else:
        value = " ".join(words.split())
    atom = Atom("RUBRIC_TEXT", text[start : row[end - 1].end], start, row[end - 1].end, value=value)
    return Cut(row[:i], atom, row[first:end], row[stop:])
