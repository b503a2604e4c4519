"""Numbers as people write them: 1e-5, 10^-5, five, twenty-five, zero point one, half, 1,000. 0,1 is not decided."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SMALL = {word: n for n, word in enumerate(_UNITS)} | {word: 10 * n for n, word in enumerate(_TENS, start=2)}
SMALL |= {"dozen": 12, "single": 1}
SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
FRACTIONS = {
    "half": 1 / 2, "halves": 1 / 2, "third": 1 / 3, "thirds": 1 / 3, "quarter": 1 / 4, "quarters": 1 / 4,
    "fifth": 1 / 5, "fifths": 1 / 5, "tenth": 1 / 10, "tenths": 1 / 10,
}  # fmt: skip
WORDS = {*SMALL, *SCALES}

_NUMERAL = r"(?:\d+(?:\.\d+)?|\.\d+)"
_MINUS = "[-−–]"
SCIENTIFIC = re.compile(
    rf"{_NUMERAL}[eE]{_MINUS}?\+?\d+|{_NUMERAL} [eE]{_MINUS}\d+"
    rf"|{_NUMERAL}\s?[x×*·]\s?10\s?(?:(?:\^|\*\*)\s?\(?{_MINUS}?|{_MINUS})\d+\)?|10\s?(?:\^|\*\*)\s?\(?{_MINUS}?\d+\)?"
    rf"|(?:{_NUMERAL}\s?[x×*·]\s?)?10⁻?[⁰¹²³⁴-⁹]+"
)
_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
PLAIN = re.compile(_NUMERAL)
THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])")
COMMA_DECIMAL = re.compile(r"\d+,\d+(?![\d,]|\.\d)")
COMMA_LIST = re.compile(r"\d+(?:,\d+){2,}(?![\d,]|\.\d)")
SLASHED = re.compile(rf"{_NUMERAL}\s?%?(?:\s?/\s?{_NUMERAL}\s?%?)+")
RATIO = re.compile(rf"(\d+)\s?%?\s?(?:{_MINUS}|:|to)\s?(\d+)\s?%?")


def scientific(text: str) -> float:
    """The value of what SCIENTIFIC matches."""
    text = re.sub("10(?=[⁻⁰¹²³⁴-⁹])", "10^", text).translate(_RAISED)
    plain = re.sub("[−–]", "-", text).replace(" ", "").replace("(", "").replace(")", "").replace("**", "^")
    if found := re.fullmatch(r"(?:([\d.]+)[x×*·])?10\^?(-?\d+)", plain):
        return float(f"{found[1] or 1}e{found[2]}")
    return float(plain)


def spelled(words: Sequence[str]) -> tuple[float, int] | None:
    """The number that a row of words starts with, and how many words it takes: five; twenty five; zero point one."""
    total, current, taken, scaled = 0.0, 0.0, 0, False
    for word in words:
        if word in SMALL:
            if taken and not scaled and not (current >= 20 and current % 10 == 0 and SMALL[word] < 10):
                break
            current += SMALL[word]
            scaled = False
        elif word in SCALES and SCALES[word] == 100:
            current, scaled = max(current, 1) * 100, True
        elif word in SCALES:
            total, current, scaled = total + max(current, 1) * SCALES[word], 0.0, True
        else:
            break
        taken += 1
    if taken < len(words) and words[taken] == "point":
        digits = []
        for word in words[taken + 1 :]:
            if word not in SMALL or SMALL[word] > 9:
                break
            digits.append(str(SMALL[word]))
        if digits:
            whole = int(total + current)
            return float(f"{whole}.{''.join(digits)}"), taken + 1 + len(digits)
    return (total + current, taken) if taken else None
