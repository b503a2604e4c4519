"""An instruction's text as the terminals of instruction.lark.

Every terminal keeps its place in the text, so that what was understood can be shown in the user's own words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from preference import instruction_models as models
from preference import instruction_numbers as numbers
from preference.instruction_lexicon import CONNECTING, lexicon, nearest
from preference.instruction_models import KnownModel
from preference.instruction_names import find_models
from preference.instruction_scan import Atom, scan, text_of


def atoms(text: str, catalogue: Sequence[KnownModel] = ()) -> list[Atom]:
    """The text's terminals, fillers among them."""
    found = find_models(_unquoted_keys(list(scan(text))), catalogue)
    found = _long_lists(_spelled_numbers([piece for atom in found for piece in _split(atom)]))
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


def _split(atom: Atom) -> Iterator[Atom]:
    """Words that are two: held-out, rank-16, learning_rate, r16, 3-epoch, 10k."""
    if atom.kind == "RANGE_TEXT":
        found = numbers.RATIO.fullmatch(atom.text)
        assert found
        yield Atom("INT", found[1], atom.start, atom.start + len(found[1]), value=float(found[1]))
        joint = "TO" if "to" in atom.text else "DASH"
        yield Atom(
            joint,
            atom.text[found.end(1) : found.start(2)].strip(),
            atom.start + found.end(1),
            atom.start + found.start(2),
        )
        yield Atom("INT", found[2], atom.start + found.start(2), atom.end, value=float(found[2]))
        return
    if atom.kind == "ALNUM":
        yield from _alnum(atom)
        return
    if atom.kind != "WORD":
        yield atom
        return
    words = lexicon()
    plain = atom.text.replace("’", "'")
    if plain.casefold().endswith("'s") and plain.casefold() not in ("it's", "let's", "that's"):
        plain = plain[:-2]
    if (plain.casefold(),) in words.phrases:
        yield atom
        return
    if re.fullmatch(r"t\d{1,3}", plain, re.I):
        yield replace(atom, kind="TRIAL", value=plain.lower())
        return
    pieces = list(re.finditer(r"[^\W_]+(?:'[^\W_]+)?", plain))
    lowered = tuple(m[0].casefold() for m in pieces)
    joined = re.fullmatch(r"([A-Za-zβλ]+(?:[-_][A-Za-z]+)*)[-_=]?((?:\d|\.\d)[\d.e+-]*)", plain)
    if joined and tuple(re.split("[-_]", joined[1].casefold())) in words.phrases:
        phrase = tuple(re.split("[-_]", joined[1].casefold()))
        if words.phrases[phrase][0] == "words" and _is_number(joined[2]):
            yield Atom("WORD", joined[1], atom.start, atom.start + len(joined[1]), value=" ".join(phrase))
            value = float(joined[2])
            kind = "INT" if joined[2].isdigit() else "SCI" if "e" in joined[2] or value < 1e-3 else "DEC"
            yield Atom(kind, joined[2], atom.end - len(joined[2]), atom.end, value=value)
            return
    tuned = (
        len(lowered) == 2
        and lowered[0] in ("dpo", "orpo", "preference")
        and lowered[1] in ("tune", "tuned", "tuning", "finetune")
    )
    spelled_out = all(w in numbers.WORDS or w in numbers.FRACTIONS or w == "percent" for w in lowered)
    slashed = "/" in plain
    counted = len(lowered) > 1 and lowered[0] in numbers.WORDS and all((w,) in words.phrases for w in lowered[1:])
    if (
        len(pieces) > 1
        and not slashed
        and (lowered in words.phrases or spelled_out or counted or tuned or _all_known(lowered))
    ):
        for m in pieces:
            yield Atom("WORD", m[0], atom.start + m.start(), atom.start + m.end())
        return
    if re.search(r"[\d_/.-]", plain):
        kind = "MODEL_NAME" if models.starts_model(plain) and re.search(r"\d", plain) else "NAME"
        yield replace(atom, kind=kind, value=plain)
        return
    yield atom


def _all_known(words: tuple[str, ...]) -> bool:
    """Two phrases side by side, such as LoRA-rank; not a name that happens to be made of filler words."""
    table = lexicon().phrases
    return all(
        (w,) in table
        and table[(w,)][0] == "words"
        and table[(w,)][1]
        not in ("EVALUATOR", "DATASET", "TRAIN", "EVAL", "PAIRS", "RUBRIC", "MODEL", "JUDGE", "SCORE")
        for w in words
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _alnum(atom: Atom) -> Iterator[Atom]:
    """3-epoch, 10k, 5usd, 30B."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)[-]?([A-Za-z]+(?:-[A-Za-z]+)*)", atom.text)
    if found:
        words = tuple(found[2].casefold().split("-"))
        cut = atom.start + len(found[1])
        number = Atom("INT" if found[1].isdigit() else "DEC", found[1], atom.start, cut, value=float(found[1]))
        if words in (("k",),):
            yield replace(number, text=atom.text, end=atom.end, value=number.value * 1000, note="k")
            return
        if words in lexicon().phrases or all((w,) in lexicon().phrases for w in words):
            yield number
            for m in re.finditer(r"[A-Za-z]+", found[2]):
                yield Atom("WORD", m[0], atom.end - len(found[2]) + m.start(), atom.end - len(found[2]) + m.end())
            return
    if re.fullmatch(r"\d+(?:\.\d+)?[bBmM]", atom.text):
        yield replace(atom, kind="SIZE")
        return
    yield replace(atom, kind="NAME", value=atom.text)


def _spelled_numbers(row: list[Atom]) -> list[Atom]:
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
