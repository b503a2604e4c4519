"""Which languages a dataset is in, roughly: py3langid on a sample."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

MIN_LETTERS = 20
MIN_PROBABILITY = 0.5
_CHARS_READ = 300  # it takes time in proportion, and knows by then

UNKNOWN = "unknown"


def language(texts: Iterable[str]) -> str:
    """ISO 639-1 code of what the texts are in together; "unknown" where there is too little to tell."""
    start = " ".join(text[:_CHARS_READ] for text in texts)
    if sum(map(str.isalpha, start)) < MIN_LETTERS:
        return UNKNOWN
    name, probability = _identifier().classify(start)
    return str(name) if probability >= MIN_PROBABILITY else UNKNOWN


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # 1 s that only this needs

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
