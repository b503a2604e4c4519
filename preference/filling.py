"""A request's fields filled from what its instruction was understood to ask for, and what is then still missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from preference.instruction_reading import TITLES, Question, Reading, shown_value
from preference.settings import PreferenceRequest
from preference.trials import is_explicit

_FIXED_AT_THE_PLAN = ("dataset", "held_out", "evaluator", "labelled")  # fetched for the session already


class Filled(BaseModel):
    """The request as it is planned, and all that the plan must show about the text."""

    request: PreferenceRequest
    reading: Reading
    sweep_said: bool  # a sweep over the platform's models was asked for
    notes: list[str] = []  # where text and fields differ, or this version has no such field
    questions: list[Question] = []


def fill(
    request: PreferenceRequest, reading: Reading, answers: Mapping[str, Any], *, text_wins: bool = False
) -> Filled:
    """The request with what the text says. A field that was given wins, and the difference is noted.

    A field that stands at its default counts as not given, since forms send all. answers: {field: value}, what was
    asked and answered; they win over both. text_wins: the text is a change to the request.
    """
    data = request.model_dump(exclude_unset=True)
    notes: list[str] = []
    taken: dict[str, Any] = {}
    for field, value in reading.fields.items():
        if field in answers:
            continue
        words = f"“{reading.words_for(field)}”"
        if not _is_field(request, field):
            if note := _without_field(request, field, words, value):
                notes.append(note)
        elif text_wins and field in _FIXED_AT_THE_PLAN:
            notes.append(
                f"{words} is not done: {TITLES[field]} is fixed once it was fetched. Start another run for it."
            )
        elif not text_wins and is_given(request, field) and _is_file(_value(request, field), value):
            continue  # the shell found the file that the text names
        elif not text_wins and is_given(request, field) and _value(request, field) != value:
            own = shown_value(_value(request, field))
            notes.append(f"{field} is {own}, as its field says; the text says {shown_value(value)} ({words}).")
        else:
            taken[field] = value
    taken |= {field: value for field, value in answers.items() if _is_field(request, field)}
    filled, questions = _validated(request, data, taken, reading)
    said = {**reading.fields, **answers}.get("base_models") == []
    return Filled(request=filled, reading=reading, sweep_said=said, notes=notes, questions=questions)


def _is_file(own: Any, said: Any) -> bool:
    """Whether a field holds, by its whole path, the file that a text names."""
    whole = isinstance(own, str) and isinstance(said, str) and own.startswith("/")
    return whole and bool(said) and own.endswith("/" + said.removeprefix("./"))


def _without_field(request: PreferenceRequest, field: str, words: str, value: Any) -> str:
    if field == "pairs.generate":  # the data decides: prompts without answers get them
        return "" if value else f"{words}: prompts without answers need pairs all the same; other data gets none."
    return f"{words} was understood ({field}), but this version does not offer it: it is not done."


def _validated(
    request: PreferenceRequest, data: dict[str, Any], taken: Mapping[str, Any], reading: Reading
) -> tuple[PreferenceRequest, list[Question]]:
    """The request, and a question for each value that it does not take; those are left out."""
    questions: list[Question] = []
    taken = dict(taken)
    while True:
        try:
            return PreferenceRequest.model_validate(_merged(data, taken)), questions
        except ValidationError as error:
            faults = error.errors()
        for fault in faults:
            place = ".".join(str(part) for part in fault["loc"] if not isinstance(part, int))
            guilty = [f for f in taken if f == place or f.startswith(f"{place}.") or place.startswith(f"{f}.")]
            if not place:  # of several fields together: those that the message names, else all
                guilty = [f for f in taken if f.rsplit(".", 1)[-1] in str(fault["msg"])] or list(taken)
            if not guilty:
                raise ValueError(f"{place or 'the request'}: {fault['msg']}")
            text = str(fault["msg"]).removeprefix("Value error, ")
            words = " … ".join(reading.words_for(f) for f in guilty if reading.words_for(f))
            questions.append(Question(field=guilty[-1], text=f"{text}. What is meant?", words=words))
            for field in guilty:
                taken.pop(field, None)


def _merged(data: dict[str, Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    """data with dotted fields set, itself untouched."""
    merged = {k: dict(v) if isinstance(v, dict) else v for k, v in data.items()}
    for field, value in taken.items():
        name, _, inner = field.partition(".")
        if inner:
            merged.setdefault(name, {})[inner] = value
        else:
            merged[name] = value
    return merged


def _is_field(request: PreferenceRequest, field: str) -> bool:
    name, _, inner = field.partition(".")
    if name not in type(request).model_fields:
        return False
    return not inner or inner in type(getattr(request, name)).model_fields


def _value(request: PreferenceRequest, field: str) -> Any:
    name, _, inner = field.partition(".")
    value = getattr(request, name)
    return getattr(value, inner) if inner else value


def is_given(request: PreferenceRequest, field: str) -> bool:
    """Whether the field says something of its own."""
    name, _, inner = field.partition(".")
    owner, name = (getattr(request, name), inner) if inner else (request, name)
    about = type(owner).model_fields[name]
    return name in owner.model_fields_set and getattr(owner, name) != about.get_default(call_default_factory=True)


def missing(filled: Filled) -> list[Question]:
    """What a run cannot be planned without, and nobody has said."""
    request, found = filled.request, []
    asked = {q.field for q in [*filled.questions, *filled.reading.questions]}
    if not request.dataset and "dataset" not in asked:
        found.append(
            Question(
                field="dataset", words="", text="Which dataset? Its ID or full name on the platform, or a file's path."
            )
        )
    if not request.base_models and not filled.sweep_said and not is_explicit(request) and "base_models" not in asked:
        found.append(
            Question(
                field="base_models",
                words="",
                text="Neither a base model nor anything to sweep was named. Is a sweep over the platform's models OK? "
                "Say yes, or name base models.",
            )
        )
    if not (request.evaluator or request.judge) and not {"evaluator", "judge"} & asked:
        found += [
            Question(
                field="evaluator",
                words="",
                text="Which evaluator scores the answers? Its ID on the platform, or path/to/file.py::function. "
                "Or leave it empty, and name a judge.",
            ),
            Question(
                field="judge",
                words="",
                text="Without an evaluator: which judge compares the answers? A saved JudgeEndpoint, or a model.",
            ),
        ]
    return found


def understood_lines(filled: Filled) -> list[str]:
    """What was understood from which words and what was not, for the plan and the forms; markdown."""
    reading = filled.reading
    lines = [f"> {' '.join(reading.text.split())}", ""] if reading.text.strip() else []
    lines += [
        f"- **{one.field}**: {shown_value(one.value)}{f' ({one.note})' if one.note else ''} ← “{one.words}”"
        for one in reading.understood
    ]
    lines += [f"- **Note:** {note}" for note in filled.notes]
    lines += [f"- **Second reading** {line}" for line in reading.second]
    lines += [f"- **Not done:** “{unread.words}” ({unread.why})" for unread in reading.not_understood]
    lines += [f"- **Refused:** “{one.words}”. {one.text}" for one in reading.refused]
    return lines
