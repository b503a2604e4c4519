"""The words that an instruction is made of, as instruction_words.toml has them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from rapidfuzz.distance import OSA

from preference.instruction_scan import COLLECTIONS

# left over, these say nothing by themselves
CONNECTING = set(
    (
        "EQ OF TO AT AS FOR WITH ON IN FROM BY AND COMMA KEEP TRAIN MODEL BASE SWEEP LORA PAIRS DATASET PER AUTO "
        "ALSO BOTH ONLY SLASH DASH END LINE SEMI BUT GENERATE EVAL SPEND JOBS ONCE AGAINST ANSWER OR"
    ).split()
)


@dataclass
class Lexicon:
    """Phrases by their words, longest first within a first word."""

    phrases: dict[tuple[str, ...], tuple[str, str]] = field(default_factory=dict)  # words -> section, terminal
    longest: int = 1
    english: frozenset[str] = frozenset()

    @cached_property
    def vocabulary(self) -> set[str]:
        return {word for phrase in self.phrases for word in phrase}

    @cached_property
    def corrected_to(self) -> set[str]:
        """What a misspelt word may be taken for: nothing that would hide it."""
        return {word for phrase, (section, _) in self.phrases.items() if section != "filler" for word in phrase}


@cache
def lexicon() -> Lexicon:
    """instruction_words.toml, read once."""
    data = tomllib.loads(Path(__file__).with_name("instruction_words.toml").read_text("utf-8"))
    found = Lexicon(english=frozenset(data["english"]["OTHER"].split()))
    for section in ("filler", "harmless", "words", "stopper"):
        for terminal, phrases in data[section].items():
            for phrase in phrases:
                words = tuple(phrase.split())
                found.phrases[words] = (section, terminal)
                found.longest = max(found.longest, len(words))
    return found


@cache
def terminals() -> tuple[str, ...]:
    """Every terminal that a token can be."""
    ours = {terminal for section, terminal in lexicon().phrases.values() if section != "filler"}
    values = """INT DEC SCI COMMANUM NUMS MINUS MONEY COMMAMONEY
    PCT COMMAPCT FRAC RATIO SIZE QUOTED FILE CODE URL PATH NAME WORD
    TRIAL RUBRIC_TEXT DASH SLASH COMMA SEMI END LINE OTHER RESOURCE_OTHER""".split()
    return tuple(sorted(ours | {*values, *COLLECTIONS.values()}))


@cache
def nearest(word: str) -> str | None:
    """The one word of the lexicon that is a slip away; None where there is none, or several."""
    if len(word) < 4 or not word.isalpha() or word in lexicon().english:
        return None
    near = []
    for other in lexicon().corrected_to:
        if len(other) < 4 or other[0] != word[0] or abs(len(other) - len(word)) > 2 or not other.isalpha():
            continue
        if other + "s" == word or word + "s" == other:
            continue
        distance = OSA.distance(word, other)
        swapped = distance == 1 and sorted(word) == sorted(other)
        if (
            swapped
            or (distance == 1 and len(word) >= 5 and len(word) != len(other))
            or (distance == 1 and len(word) >= 6)
        ) or (distance == 2 and len(word) >= 8 and len(other) >= 8):
            near.append(other)
    if len(near) > 1:
        meanings = {lexicon().phrases.get((w,)) for w in near}
        if len(meanings) > 1:
            return None
    return near[0] if near else None
