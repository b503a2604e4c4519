"""Numbers in words, as the numbers that they are."""

from __future__ import annotations

from dataclasses import replace

from preference import instruction_numbers as numbers
from preference.instruction_lexicon import lexicon
from preference.instruction_scan import Atom, text_of


def spelled_numbers(row: list[Atom]) -> list[Atom]:
    """three, twenty-five, zero point one, a hundred, three quarters."""
    found: list[Atom] = []
    at = 0
    while at < len(row):
        words = []
        for atom in row[at : at + 8]:
            if atom.kind != "WORD":
                break
            words.append(atom.text.casefold())
        number = numbers.spelled(words)
        if number and any(tuple(words[:n]) in lexicon().phrases for n in range(2, len(words) + 1)):
            number = None  # one by one
        if number and not _is_pronoun(words, found):
            value, n = number
            last = row[at + n - 1]
            kind = "INT" if value == int(value) and "point" not in words[:n] else "DEC"
            found.append(
                Atom(
                    kind,
                    text_of(row[at : at + n]),
                    row[at].start,
                    last.end,
                    value=value,
                    harmless=words[0] in ("one", "single"),
                )
            )
            at += n
        elif words[:1] == ["a"] and words[1:2] in (["dollar"], ["buck"], ["cent"]) and not _halved(found):
            found.append(replace(row[at], kind="INT", value=1.0))
            at += 1
        elif words and words[0] in numbers.FRACTIONS:
            value = numbers.FRACTIONS[words[0]]
            start = row[at].start
            if (
                found
                and found[-1].kind == "INT"
                and found[-1].value < 10
                and words[0].endswith("s") == (found[-1].value != 1)
            ):
                count = found.pop()
                value, start = value * count.value, count.start
            found.append(Atom("FRAC", row[at].text, start, row[at].end, value=value))
            at += 1
        elif row[at].kind == "INT" and words == [] and _scale_after(row, at):
            scale = numbers.SCALES[row[at + 1].text.casefold()]
            found.append(
                replace(row[at], text=text_of(row[at : at + 2]), end=row[at + 1].end, value=row[at].value * scale)
            )
            at += 2
        else:
            found.append(row[at])
            at += 1
    return found


def _halved(before: list[Atom]) -> bool:
    """Half a dollar is no dollar."""
    return bool(before) and before[-1].kind == "FRAC"


def _scale_after(row: list[Atom], at: int) -> bool:
    return at + 1 < len(row) and row[at + 1].kind == "WORD" and row[at + 1].text.casefold() in numbers.SCALES


def _is_pronoun(words: list[str], before: list[Atom]) -> bool:
    """ "the best one", "which one", "one of them": no number."""
    if words[0] != "one":
        return False
    if len(words) > 1 and words[1] in ("of", "that", "which", "with", "is", "as"):
        return True
    return bool(before) and before[-1].kind == "WORD" and before[-1].text.casefold() in (
        "best", "the", "that", "this", "which", "strong", "weak", "stronger", "weaker", "better", "winning", "any",
        "other", "big", "small", "larger", "smaller", "bigger", "same", "last", "first", "new", "old",
    )  # fmt: skip
