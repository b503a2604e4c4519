"""What a text means otherwise where a search is asked for: "20 trials" are drawn, and a range is a range."""

from __future__ import annotations

import re

from preference.instruction_meaning_values import HOW_MANY_JOBS
from preference.instruction_reading import Question, Reading, Understood
from preference.instruction_said import RANGE
from preference.settings_sweep import Strategy

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?", re.I)
_RANGES = ("sweep.learning_rates", "sweep.betas", "sweep.orpo_lambdas")


def read_as_search(reading: Reading) -> None:
    """With strategy tpe, answer the questions that only a grid has to ask."""
    if reading.fields.get("strategy") != Strategy.TPE:
        return
    left: list[Question] = []
    for question in reading.questions:
        said = _NUMBER.findall(question.words)
        if question.field == "max_active_jobs" and HOW_MANY_JOBS in question.text and len(said) == 1:
            found = Understood(field="sweep.n_trials", value=int(float(said[0])), words=question.words)
        elif question.field in _RANGES and question.text.startswith(RANGE) and len(said) == 2:
            ends = [float(said[0]), float(said[1])]
            found = Understood(field=question.field, value=ends, words=question.words, note="the ends of a range")
        else:
            left.append(question)
            continue
        reading.understood.append(found)
    reading.questions = left
