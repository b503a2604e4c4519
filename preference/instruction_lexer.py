"""An instruction's text as the terminals of instruction.lark.

Every terminal keeps its place in the text, so that what was understood can be shown in the user's own words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from preference.instruction_joined import split_joined
from preference.instruction_lexicon import CONNECTING, lexicon, nearest
from preference.instruction_models import KnownModel
from preference.instruction_names import find_models
from preference.instruction_scan import Atom, scan, text_of
from preference.instruction_spelled import spelled_numbers


def atoms(text: str, catalogue: Sequence[KnownModel] = ()) -> list[Atom]:
    """The text's terminals, fillers among them."""
    found = find_models(_unquoted_keys(list(scan(text))), catalogue)
    found = _long_lists(spelled_numbers([piece for atom in found for piece in split_joined(atom)]))
    return _turned(_shares(_phrases(_corrected(found))))


def _unquoted_keys(row: list[Atom]) -> list[Atom]:
    """A word in quotes before a colon is the word itself: {"epochs": 3}."""
    return [
        replace(atom, kind="WORD", text=str(atom.value), start=atom.start + 1, end=atom.end - 1, value=None)
        if atom.kind == "QUOTED"
        and after.kind == "EQ"
        and tuple(re.split("[-_ ]", str(atom.value).casefold())) in lexicon().phrases
        else atom
        for atom, after in pairwise([*row, Atom("END", "", 0, 0)])
    ]


_SHORT_LIST = 8


def _long_lists(row: list[Atom]) -> list[Atom]:
    """All but the last two numbers of a long list as one atom: the parser's time grows with the cube of a list.

    The last ones may belong to what comes next: "ranks 8, 16, 3 epochs".
    """
    found: list[Atom] = []
    at = 0
    while at < len(row):
        end = at
        while (
            end + 2 < len(row)
            and row[end].kind in ("INT", "DEC", "SCI")
            and row[end + 1].kind in ("COMMA", "SLASH", "AND")
            and row[end + 2].kind in ("INT", "DEC", "SCI")
        ):
            end += 2
        if (end - at) // 2 >= _SHORT_LIST:
            taken = row[at : end - 3]
            values = [a.value for a in taken if a.kind in ("INT", "DEC", "SCI")]
            found.append(Atom("NUMS", text_of(taken), taken[0].start, taken[-1].end, value=values))
            at = end - 3
        else:
            found += row[at : end + 1]
            at = end + 1
    return found


def _turned(row: list[Atom]) -> list[Atom]:
    """A "no" that stands alone takes back what was said before it: "rank 8, no, rank 16". A minus is no dash."""
    found = []
    for n, atom in enumerate(row):
        if (
            atom.kind == "NOT"
            and atom.text.casefold() == "no"
            and _kind(row, n + 1) in ("COMMA", "SEMI", "DASH", "END")
            and _kind(row, n - 1) != "EQ"  # "early stopping: no"
        ):
            atom = replace(atom, kind="CORRECT")
        elif atom.kind == "DASH" and _is_minus(row, n):
            atom = replace(atom, kind="MINUS", harmless=False)
        found.append(atom)
    return found


def _kind(row: Sequence[Atom], n: int) -> str:
    return row[n].kind if 0 <= n < len(row) else ""


def _is_minus(row: Sequence[Atom], n: int) -> bool:
    """A dash right before a number, and not right after something."""
    if _kind(row, n - 1) in ("", "LINE", "END") or _kind(row, n + 1) not in ("INT", "DEC", "SCI", "MONEY", "PCT"):
        return False
    return row[n - 1].end < row[n].start and row[n].end == row[n + 1].start


def _corrected(row: list[Atom]) -> list[Atom]:
    """Words with a slip of the finger, as the word of the lexicon that they mean."""
    known = lexicon().vocabulary
    found = []
    for atom in row:
        word = str(atom.value or atom.text).replace("’", "'").casefold() if atom.kind == "WORD" else ""
        if not word:
            found.append(atom)
            continue
        if word.endswith("'s") and word not in known:
            word = word[:-2]
        if word not in known and not all(w in known for w in word.split()) and (meant := nearest(word)):
            found.append(replace(atom, value=meant, note=f"read as {meant!r}"))
        else:
            found.append(replace(atom, value=word))
    return found


def _phrases(row: list[Atom]) -> list[Atom]:
    """Words as terminals, the longest phrase first."""
    words = lexicon()
    found: list[Atom] = []
    at = 0
    while at < len(row):
        if row[at].kind != "WORD":
            found.append(row[at])
            at += 1
            continue
        spoken: list[str] = []
        ends: list[int] = []  # how many atoms the first n words take
        for n, atom in enumerate(row[at : at + words.longest], start=1):
            if atom.kind != "WORD":
                break
            for word in str(atom.value).split():
                spoken.append(word)
                ends.append(n)
        for n in range(min(len(spoken), words.longest), 0, -1):
            if tuple(spoken[:n]) in words.phrases and (n == len(spoken) or ends[n] != ends[n - 1]):
                section, terminal = words.phrases[tuple(spoken[:n])]
                taken = row[at : at + ends[n - 1]]
                note = "; ".join(a.note for a in taken if a.note)
                found.append(
                    Atom(
                        terminal,
                        text_of(taken),
                        taken[0].start,
                        taken[-1].end,
                        harmless=section == "harmless" or terminal in CONNECTING,
                        filler=section == "filler",
                        note=note,
                    )
                )
                at += ends[n - 1]
                break
        else:
            found.append(replace(row[at], value=row[at].text))
            at += 1
    return found


def _shares(row: list[Atom]) -> list[Atom]:
    """ "75 percent", and what of punctuation is harmless."""
    found: list[Atom] = []
    for atom in row:
        if atom.kind == "PERCENT" and found and found[-1].kind in ("INT", "DEC", "FRAC"):
            number = found.pop()
            value = number.value / 100
            found.append(Atom("PCT", f"{number.text} {atom.text}", number.start, atom.end, value=value))
        else:
            found.append(replace(atom, harmless=True) if atom.kind in CONNECTING else atom)
    return found
