"""An answer at a pause in plain English, as the fields of the form that waits; nothing is guessed."""

from __future__ import annotations

import re

from flows.asking import NO, YES, Answer, CannotAnswer, decision
from flows.runs import Question
from preference.instruction import InstructionRefused, read_instruction
from preference.instruction_answers import GateAnswer, Intent, read_answer
from preference.instruction_replies import reply
from preference.settings import PreferenceRequest

_PLAIN = '"Approved, proceed." or "Cancel."'
_WOULD_BE = {  # what a gate understands, for the refusal
    "plan": '"Approved, proceed.", a change such as "Use Qwen3 8B instead.", or "Cancel."',
    "comparison": '"Proceed with the winning config.", a candidate by name such as "Promote t2.", or "Cancel."',
}
_BARE_NO = re.compile(r"\W*(?:no|nope|nah)\b\W*(?:thanks|thank you)?\W*", re.I)  # to which of several questions?


def answer_in_words(question: Question, text: str) -> Answer:
    """The form's fields for what the text says. Raises CannotAnswer, with what would be understood."""
    try:
        if question.gate == "inputs":
            return _inputs(question, text)
        said = read_answer(text)
    except InstructionRefused as error:
        raise CannotAnswer(f"{error} Nothing was answered.") from None
    answer = said.form(question.gate) if question.gate in _WOULD_BE else _yes_or_no(question, said)
    if answer is None:
        why = said.why or f"{text.strip()!r} is no answer to the {question.gate} gate"
        raise CannotAnswer(f"{why}. Nothing was answered. Say {_WOULD_BE.get(question.gate, _PLAIN)}")
    return answer


def _yes_or_no(question: Question, said: GateAnswer) -> Answer | None:
    """For the gates that only ask whether to go on; a winner is only spoken of where one is to be deployed."""
    if said.intent is Intent.PROCEED and (question.gate == "promotion" or not said.winner):
        return decision(question, YES)
    return decision(question, NO) if said.intent is Intent.STOP else None


def _inputs(question: Question, text: str) -> Answer:
    """What is asked before the plan: each field that the text speaks of, or the one that it can only be about."""
    if read_answer(text).intent is Intent.STOP and not _BARE_NO.fullmatch(text):
        return decision(question, NO)
    asked = {_field(name): name for name in question.schema.get("properties", {}) if name not in ("decision", "name")}
    reading = read_instruction(text)
    given = {field: value for field, value in reading.fields.items() if field in asked}
    faults = [f"{field} is not asked for here" for field in reading.fields if field not in asked]
    faults += [f"“{one.words}”: {one.why}" for one in reading.not_understood]
    faults += [one.text for one in reading.questions] + [one.text for one in reading.refused]
    if not reading.fields and not reading.refused and not _BARE_NO.fullmatch(text):
        bare = [field for field in asked if not _is_text(field) and reply(field, text)]
        given, faults = ({bare[0]: text.strip()}, []) if len(bare) == 1 else ({}, faults)
    if faults or not given:
        raise CannotAnswer(
            f"{'; '.join(faults) or f'{text.strip()!r} says nothing of what is asked'}. Nothing was answered. It asks "
            f'for {", ".join(asked.values())}: say it in a sentence, such as "Use Qwen3 8B.", or with --set '
            'FIELD=VALUE; "Cancel." ends the run'
        )
    # the form's own reading takes the whole sentence, but a name only as it stands
    return {"decision": "go on", **{asked[f]: v if _is_text(f) else text.strip() for f, v in given.items()}}


def _field(name: str) -> str:
    """The request's field for the form's: sweep_betas is sweep.betas."""
    return name if name in PreferenceRequest.model_fields else name.replace("_", ".", 1)


def _is_text(field: str) -> bool:
    about = PreferenceRequest.model_fields.get(field)
    return about is not None and about.annotation is str
