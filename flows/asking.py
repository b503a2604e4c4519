"""A gate's form at the terminal: its questions asked line by line, from the form's JSON schema."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from flows.runs import Question

YES = ("approve", "continue", "proceed", "deploy")  # what each gate calls going on
NO = ("reject", "stop", "cancel")

Answer = dict[str, Any]


class CannotAnswer(ValueError):
    """The gate's form has no such answer; the message says what it asks."""


def can_ask() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def show(question: Question, console: Console) -> None:
    console.rule(f"{question.gate} gate")
    console.print(Markdown(question.page))


def ask(question: Question, console: Console) -> Answer:
    """Every field of the form that the decision reads, in the form's order; Enter keeps what the form has there."""
    fields = question.schema.get("properties", {})
    answer: Answer = {}
    for name in sorted(fields, key=lambda name: fields[name].get("position", len(fields))):
        about = fields[name]
        wanted_for = about.get("only_for")  # ours: the decisions that read the field
        if name == "name" or (wanted_for and answer.get("decision") not in wanted_for):
            continue
        choices = question.choices(name)
        said = _choose(about, choices, console) if choices else _tell(about, console)
        if said != "":
            answer[name] = value_of(question, name, said)
    return answer


def _choose(about: dict[str, Any], choices: list[str], console: Console) -> str:
    while True:
        said = console.input(f"{about.get('title', '')}: {' / '.join(choices)}? ").strip().lower()
        if not said and "default" in about:
            return str(about["default"])
        found = [choice for choice in choices if said and choice.lower().startswith(said)]
        if len(found) == 1 or said in found:
            return said if said in found else found[0]


def _tell(about: dict[str, Any], console: Console) -> str:
    if about.get("description"):
        console.print(f"[dim]{about['description']}[/dim]")
    default = about.get("default")
    shown = f" [{default}]" if default not in (None, "") else ""
    return console.input(f"{about.get('title', '')}{shown}: ", markup=False).strip()


def value_of(question: Question, field: str, text: str) -> Any:
    """The text as what the field takes: itself where that is a text or a choice, else the JSON that it is."""
    if question.choices(field) or question.takes_text(field):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def decision(question: Question, words: Iterable[str]) -> Answer:
    """The one of these words that the form has as its decision. Raises CannotAnswer."""
    choices = question.choices()
    for word in words:
        if word in choices:
            return {"decision": word}
    fields = ", ".join(question.schema.get("properties", {})) or "nothing"
    asked = f"its decisions are {', '.join(choices)}" if choices else f"it asks for {fields}"
    raise CannotAnswer(f"the {question.gate} gate has no such answer: {asked}. Say it with --set FIELD=VALUE")
