"""Model names in a text: those of a catalogue, letters fuzzy and digits equal, and what looks like a model's name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from pydantic import BaseModel
from rapidfuzz import fuzz
from rapidfuzz.distance import OSA

FAMILIES = """qwen llama mistral ministral mixtral gemma kimi deepseek glm smollm phi gpt nemotron minimax muse olmo
tulu zephyr falcon granite codellama devstral magistral claude gemini grok""".split()
VARIANTS = """instruct chat it base coder code mini small medium large nano super ultra flash pro max turbo scout
maverick vl thinking think oss glimmer preview exp bf16 fp8 hf latest distill sonnet opus haiku""".split()
_PARTS = re.compile(r"\d+(?:\.\d+)*|[a-z]+")
_SIZE = re.compile(r"(?:\d+x)?\d+(?:\.\d+|p\d+)?[bmt](?:-.*)?|a\d+(?:\.\d+|p\d+)?b|v\d+(?:\.\d+|p\d+)?", re.I)
_LIKENESS = 80.0  # of the letters, 0 to 100: Quen3 is Qwen3, Llama is not Gemma


class KnownModel(BaseModel):
    """A model that the platform offers. tunable is None where that is not known."""

    name: str  # full name, or an ID
    display_name: str = ""
    tunable: bool | None = None

    @property
    def id(self) -> str:
        return self.name.rsplit("/", 1)[-1]

    @cached_property
    def spellings(self) -> list[tuple[list[str], str]]:
        return [parts(text) for text in (self.id, self.display_name) if text]


def parts(name: str) -> tuple[list[str], str]:
    """(digits, letters): (["3", "32"], "qwen b") for Qwen3 32B; 3p5 and 3.5 are the same, as in the platform's IDs."""
    plain = re.sub(r"(?<=\d)p(?=\d)", ".", name.casefold())
    found = _PARTS.findall(plain)
    return [x for x in found if x[0].isdigit()], " ".join(x for x in found if not x[0].isdigit())


def matches(name: str, catalogue: Sequence[KnownModel]) -> list[KnownModel]:
    """The models that a name may mean, the best alone where it is exact; empty where none is near enough.

    Digits must be the same, in order. Letters may be misspelt, and a word such as "instruct" left out.
    """
    if "/" in name:
        return [m for m in catalogue if m.name == name]
    digits, letters = parts(name)
    found: list[tuple[float, KnownModel]] = []
    for model in catalogue:
        for theirs, spelt in model.spellings:
            if theirs != digits:
                continue
            if spelt == letters:
                likeness = 101.0
            elif _family(spelt) and not digits:
                continue
            else:
                likeness = fuzz.ratio(_essential(letters), _essential(spelt))
            if likeness >= _LIKENESS:
                found.append((likeness, model))
    if not found:
        return []
    best = max(likeness for likeness, _ in found)
    return list({m.name: m for likeness, m in found if likeness == best}.values())


def relatives(name: str, catalogue: Sequence[KnownModel]) -> list[KnownModel]:
    """The models of a family, where nothing but the family was named: Llama, Qwen3."""
    if "/" in name or re.search(r"\d[bBmM]?\b.*\d|[\d.]+[bBmM]\b", name):
        return []
    key = re.sub(r"[\W_]", "", name.casefold())
    found = [m for m in catalogue if re.sub(r"[\W_]", "", m.id.casefold()).startswith(key)]
    return found if any(key.startswith(family) for family in FAMILIES) else []


def _essential(letters: str) -> str:
    """Without the words that people leave out."""
    return " ".join(word for word in letters.split() if word not in {"instruct", "it", "chat", "v", "hf"})


def _family(letters: str) -> bool:
    return letters.split()[:1] != [] and letters.split()[0] in FAMILIES


def starts_model(word: str) -> bool:
    """Whether a word begins with a model family's name: Qwen3-8B, Llama, gpt-oss-20b; one letter may be wrong."""
    letters = re.match(r"[a-z]+", word.rsplit("/", 1)[-1].casefold())
    if letters is None:
        return False
    if letters[0] in FAMILIES:
        return True
    has_number = letters.end() < len(word.rsplit("/", 1)[-1])
    return len(letters[0]) >= 4 and has_number and any(OSA.distance(letters[0], family) == 1 for family in FAMILIES)


def almost_family(word: str) -> bool:
    """One letter away from a family's name."""
    letters = re.match(r"[a-z]+", word.casefold())
    if letters and letters[0] in FAMILIES:
        return False
    return len(word) >= 4 and any(OSA.distance(word.casefold(), family) == 1 for family in FAMILIES)


def is_size(word: str) -> bool:
    """8B, 30B-A3B, 135M, A3B, v3."""
    return _SIZE.fullmatch(word) is not None


def is_variant(word: str) -> bool:
    return word.casefold() in VARIANTS
