"""Plain English to the fields of a request, each with the words that it came from.

Deterministic, and the same without a network. What was not understood is listed; two values for one field, a range, a
decimal comma are asked about. Text never becomes code, a path to write to, or a change to what exists already.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from preference.instruction_clauses import mentions_of, words_of
from preference.instruction_guard import InstructionRefused, check_text
from preference.instruction_lexer import atoms
from preference.instruction_meaning import meaning
from preference.instruction_models import KnownModel
from preference.instruction_parse import Item, parse
from preference.instruction_reading import Mention, Question, Reading, Unread
from preference.instruction_rubric import rubric_of
from preference.instruction_scan import Atom
from preference.instruction_sentences import sentences
from preference.instruction_settle import fit_together, name_models, settle

__all__ = ["InstructionRefused", "check_text", "read_instruction"]

_OF_A_RUBRIC = re.compile(
    r"\b(answers?|responses?|prefer|better|worse|penali[sz]e|reward|shorter|longer|ties?|they)\b|"
    r"^\W*(?:be|it|must|should|never|always|avoid|no|cites?|mentions?)\b",
    re.I,
)
_TAG = re.compile(r",\s*(?:ok|okay|right|please|yes|alright|deal|thanks)\s*\?\s*$", re.I)
_RUBRIC = re.compile(r"\W*(?:judge by|rubric|criteri(?:a|on)|grade by)\b", re.I)
_POLITE = re.compile(r"\W*(?:can|could|would|will|please|may|might|shall|how about|what about|why not)\b", re.I)


def read_instruction(text: str, catalogue: Sequence[KnownModel] = ()) -> Reading:
    """What the text asks for. Model names that the catalogue does not know stay as written.

    Raises InstructionRefused for a text that holds a key, or is longer than 8,000 characters.
    """
    check_text(text)
    reading = Reading(text=text)
    mentions: list[Mention] = []
    rubric_at: int | None = None
    rubric_start = 0
    for n, sentence in enumerate(sentences(atoms(text, catalogue))):
        words = text[sentence[0].start : sentence[-1].end]
        if _is_question(words, sentence):
            reading.not_understood.append(
                Unread(words=words.strip(), why="a question; an instruction is only acted on")
            )
            continue
        rubric, before = rubric_of(text, sentence), _rubric(mentions) if rubric_at == n - 1 else None
        if rubric is not None and before and _starts_with_prefer(sentence):  # judge: ... . Penalise ...
            _extend(before, text, rubric_start, sentence)
            rubric_at = n
            continue
        if rubric is not None:
            _inside(reading, text, rubric.inside)
            sentence, rubric_at = [*rubric.before, rubric.rubric, *rubric.after], n
            rubric_start = rubric.inside[0].start if rubric.inside else rubric.rubric.start
            if not rubric.inside:
                rubric_at = None  # a quotation ends where it ends
        items, loose = parse(sentence)
        if rubric is None and before and _goes_on(items, words):
            _extend(before, text, rubric_start, sentence)
            rubric_at = n
            continue
        mentions += mentions_of(reading, text, n, sentence, items, loose, mentions)
    for field in dict.fromkeys(m.found.field for m in mentions):
        settle(reading, field, [m for m in mentions if m.found.field == field])
    name_models(reading, catalogue)
    fit_together(reading)
    return reading


def _starts_with_prefer(sentence: Sequence[Atom]) -> bool:
    return next((a.kind for a in sentence if not a.filler and a.kind not in ("END", "LINE")), "") == "PREFER"


def _extend(before: Mention, text: str, start: int, sentence: Sequence[Atom]) -> None:
    """A rubric by the next sentence, which is more of it. start: where its own words begin."""
    end = max(a.end for a in sentence if a.kind not in ("END", "LINE"))
    before.found.value = " ".join(text[start:end].split())
    before.words = " ".join(text[before.start : end].split())


def _is_question(words: str, sentence: Sequence[Atom]) -> bool:
    if not words.rstrip().endswith("?") or _TAG.search(words) or _RUBRIC.match(words):
        return False
    first = next(a for a in sentence if a.kind not in ("END", "LINE"))
    return first.kind != "MODELSWEEP" and not _POLITE.match(words)


def _inside(reading: Reading, text: str, tail: list[Atom]) -> None:
    """Orders that stand inside a rubric's text are asked about, since they may not belong to it."""
    items, _ = parse(tail)
    for item in items:
        for found in meaning(item, tail):
            if not found.bare and found.field not in (
                "dataset",
                "held_out",
                "target_score",
                "evaluator",
                "pairs.generate",
            ):
                words = words_of(text, tail, item.first, item.last)
                reading.questions.append(
                    Question(
                        field="rubric", words=words, text=f"Does {words!r} belong to the rubric, or is it for the run?"
                    )
                )


def _rubric(mentions: list[Mention]) -> Mention | None:
    return next((m for m in reversed(mentions) if m.found.field == "rubric"), None)


def _goes_on(items: list[Item], words: str) -> bool:
    """Whether a sentence after a rubric is more of it: it orders nothing and speaks of answers."""
    return not items and bool(_OF_A_RUBRIC.search(words))
