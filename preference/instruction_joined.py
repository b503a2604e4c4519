"""Words that are written as one and are two: held-out, rank-16, learning_rate, 3-epoch, 10k."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from preference import instruction_models as models
from preference import instruction_numbers as numbers
from preference.instruction_lexicon import lexicon
from preference.instruction_scan import Atom


def split_joined(atom: Atom) -> Iterator[Atom]:
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
