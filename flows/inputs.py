"""What a run still needs to know before there can be a plan: one form, all questions at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from prefect.input import RunInput
from pydantic import Field, create_model

from blocks.workspace import Workspace
from flows.forms import PlanAnswer, your_name
from flows.gates import RunRejected, gate
from flows.scoring import Scoring
from flows.second_reading import FIELD as SECOND_READING
from flows.second_reading import SecondReader
from flows.sessions import Session
from preference.context import ContextTooLong
from preference.filling import Filled, fill, missing, understood_lines
from preference.formats import BadDataset
from preference.instruction import InstructionRefused, read_instruction
from preference.instruction_models import KnownModel
from preference.instruction_reading import TITLES, Question, Reading, shown_value
from preference.instruction_replies import reply
from preference.pair_models import NoModelPair
from preference.plan import Plan, PlanRefused
from preference.settings import PreferenceRequest
from preference.splits import Split
from tasks.asking import list_known_models, look_up_names
from tasks.inspection import BaseModelsRefused
from tasks.spending import ledger

ROUNDS = 20


class InputsDecision(StrEnum):
    GO_ON = "go on"
    STOP = "stop"


@dataclass
class Asked:
    """The request as it is understood so far, and what it was understood from."""

    form: PreferenceRequest  # as it was given
    filled: Filled
    catalogue: list[KnownModel]
    second: SecondReader
    answers: dict[str, Any] = field(default_factory=dict)  # to the questions before the plan, by field
    n_forms: int = 0  # that asked them
    changes: list[Filled] = field(default_factory=list)

    @property
    def request(self) -> PreferenceRequest:
        return (self.changes[-1] if self.changes else self.filled).request

    def lines(self) -> list[str]:
        """For the plan's page: what was understood, with each change after it."""
        found = understood_lines(self.filled)
        for number, change in enumerate(self.changes, start=1):
            found += ["", f"Change {number}:", "", *understood_lines(change)]
            found += [f"- **Not done:** {q.text} (“{q.words}”)" for q in [*change.reading.questions, *change.questions]]
        return found


def ask_what_is_missing(run: Session) -> Asked:
    """Read the instruction, and ask in one form for all that is missing, unclear or not to be found.

    Raises RunRejected for what is not offered, or where the answer is stop.
    """
    request = run.request
    catalogue = list_known_models(run.platform) if request.instruction else []
    reading = read_instruction(request.instruction, catalogue)
    if refused := [one for one in reading.refused if not one.field]:
        raise RunRejected("Not offered: " + " ".join(f"“{one.words}”. {one.text}" for one in refused))
    asked = Asked(request, fill(request, reading, {}), catalogue, SecondReader(run, reading))
    _ask_until_clear(run, asked)
    return asked


def _ask_until_clear(run: Session, asked: Asked, doubts: Sequence[Question] = ()) -> None:
    """Ask in one form for all that is open, and for doubts that the data raised, until nothing is."""
    reading, again = asked.filled.reading, asked.second
    while asked.n_forms < ROUNDS:
        filled = asked.filled = fill(asked.form, reading, asked.answers)
        doubtful = {name for one in run.contradictions for name in one.aside}
        doubtful |= {"judge"} if "evaluator" in doubtful else set()
        questions = [q for q in (*reading.questions, *doubts) if q.field not in asked.answers] + filled.questions
        questions += [q for q in missing(filled) if q.field not in doubtful]
        questions += [one.question for one in run.contradictions]
        questions += [q for q in look_up_names(run.platform, filled.request) if q.field not in _fields(questions)]
        questions += [again.question] if again.question else []
        if not questions:
            return
        asked.n_forms += 1  # is on the page: the same page would be answered by the answer before
        facts = again.facts if again.question else {}
        days = asked.form.gate_timeout_days
        found, empty = _ask(run.workspace, filled, questions, asked.catalogue, asked.n_forms, days, facts)
        closed = [one for one in run.contradictions if one.question.field in {*found, *empty}]
        for one in closed:
            asked.answers |= one.settled(found)
            run.contradictions.remove(one)
        asked.answers |= found
        if SECOND_READING in asked.answers:
            again.decide(asked.answers.pop(SECOND_READING))
    raise RunRejected(f"The run was asked for what it needs {ROUNDS} times, and something is missing still")


@dataclass(frozen=True)
class Draft:
    """A plan that waits for its approval, and what it was made of."""

    plan: Plan
    split: Split
    scoring: Scoring


def draft_or_ask(run: Session, asked: Asked, draft: Callable[[Session, Asked], Draft]) -> Draft:
    """The draft. Models that cannot be picked are asked for; a change that cannot be planned is taken back, and its
    reason is on the page."""
    while True:
        try:
            return draft(run, asked)
        except (PlanRefused, ContextTooLong, BadDataset, BaseModelsRefused, NoModelPair) as error:
            if isinstance(error, NoModelPair) and not asked.changes:
                doubts = _which_models(asked.request, error)
                asked.answers = {name: given for name, given in asked.answers.items() if name not in _fields(doubts)}
                _ask_until_clear(run, asked, doubts)
                continue
            if not asked.changes:
                raise
            request = asked.changes[-2].request if len(asked.changes) > 1 else asked.filled.request
            if asked.request == request:
                raise  # taken back already: it is not the change's fault
            notes = [*asked.changes[-1].notes, f"None of this change is done: {error}"]
            asked.changes[-1] = asked.changes[-1].model_copy(update={"request": request, "notes": notes})


def _fields(questions: Sequence[Question]) -> set[str]:
    return {q.field for q in questions}


def _which_models(request: PreferenceRequest, error: NoModelPair) -> list[Question]:
    """Those that are not named, or both where they are one, with the reason."""
    questions = [
        Question(field="pairs.strong", words="", text="Which model gives the answers to prefer (strong)?"),
        Question(field="pairs.weak", words="", text="Which model gives the others (weak)?"),
    ]
    if bool(request.pairs.strong) != bool(request.pairs.weak):
        questions = [questions[0 if request.pairs.weak else 1]]
    questions[0].text = f"{error} {questions[0].text}"
    return questions


def change(run: Session, asked: Asked, answer: PlanAnswer) -> None:
    """Take up what the plan's gate was told to change; what of it cannot be done is shown on the next page."""
    catalogue = asked.catalogue = asked.catalogue or list_known_models(run.platform)
    reading, budget, refusal = Reading(text=""), {}, ""
    try:
        reading = read_instruction(answer.change, catalogue)
        budget = reply("budget_usd", answer.budget)
    except InstructionRefused as error:
        refusal = str(error)
    asked.second.read_change(reading)
    _without_unknown_models(run, asked, reading)
    filled = fill(asked.request, reading, budget, text_wins=True)
    notes = [f"{field} is {shown_value(value)}, by the form's field." for field, value in budget.items()]
    if answer.budget.strip() and not budget:
        notes.append(f"“{answer.budget.strip()}” was not understood as a budget in US dollars.")
    if not (reading.text.strip() or answer.budget.strip()):
        notes.append("Nothing was said to change.")
    asked.changes.append(filled.model_copy(update={"notes": [*filled.notes, *notes, *([refusal] if refusal else [])]}))


def _without_unknown_models(run: Session, asked: Asked, reading: Reading) -> None:
    """Base models that are not there, or cannot be tuned, are not changed to; the next page says so."""
    names = reading.fields.get("base_models")
    if not names:
        return
    request = asked.request.model_copy(update={"base_models": names})
    questions = [q for q in look_up_names(run.platform, request) if q.field == "base_models"]
    if questions:
        reading.questions += questions
        reading.refused = [one for one in reading.refused if not one.field]
        reading.understood = [one for one in reading.understood if one.field != "base_models"]


def _ask(
    workspace: Workspace,
    filled: Filled,
    questions: list[Question],
    catalogue: list[KnownModel],
    number: int,
    timeout_days: float,
    facts: dict[str, Any],
) -> tuple[dict[str, Any], set[str]]:
    """One form with a line for each field that is asked about: {field: value} of the answers, and the empty ones."""
    answer = gate(
        workspace,
        inputs_form(questions),
        "inputs",
        inputs_markdown(filled, questions, number),
        timeout_days=timeout_days,
        facts=facts,
        now=ledger(workspace).spent().text(),
    )
    given = answer.model_dump()
    if given["decision"] == InputsDecision.STOP:
        raise RunRejected("The questions before the plan were answered with stop: nothing was started.")
    found: dict[str, Any] = {}
    for name in dict.fromkeys(q.field for q in questions):
        try:
            found |= reply(name, given[_key(name)], catalogue)
        except InstructionRefused:
            continue  # asked again
    return found, {q.field for q in questions if not str(given.get(_key(q.field), "")).strip()}


def _key(name: str) -> str:
    return name.replace(".", "_")


def inputs_form(questions: list[Question]) -> type[RunInput]:
    """A form with one text for each field that is asked about."""
    fields: dict[str, Any] = {}
    for name in dict.fromkeys(q.field for q in questions):
        title = TITLES.get(name, name.replace("_", " ").replace(".", ", ")).removeprefix("the ")
        fields[_key(name)] = (
            str,
            Field(
                "",
                title=title[0].upper() + title[1:],
                description=" ".join(q.text for q in questions if q.field == name),
                max_length=2000,
                json_schema_extra={"position": len(fields), "only_for": ["go on"]},
            ),
        )
    fields["decision"] = (
        InputsDecision,
        Field(
            InputsDecision.GO_ON,
            title="Decision",
            description="Go on makes the plan, and asks again. Stop ends the run with nothing started.",
            json_schema_extra={"position": -1},
        ),
    )
    fields["name"] = (str, your_name(len(fields)))
    return create_model("InputsAnswer", __base__=RunInput, __doc__="What is missing for the plan.", **fields)


def inputs_markdown(filled: Filled, questions: list[Question], number: int) -> str:
    """The page of the form: what is asked, and what was understood."""
    again = (
        f" (asked for the {number}th time)" if number > 3 else ["", " (asked again)", " (asked once more)"][number - 1]
    )
    return "\n".join(
        [
            f"# Before the plan{again}",
            "",
            "Nothing has been started.",
            "",
            *(f"- {q.text}" + (f" (“{q.words}”)" if q.words else "") for q in questions),
            "",
            *(["## What was understood", "", *understood_lines(filled)] if filled.reading.text else []),
            "",
        ]
    )
