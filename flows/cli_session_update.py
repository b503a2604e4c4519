"""`prefworks session update`: the answer to what a session waits for, in plain English or by the form's fields."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from blocks.workspace import Workspace
from flows.cli_session import AsJson, SessionId, check_id
from flows.cli_session_run import POLL_S, look
from flows.connecting import connect
from flows.failing import fail
from flows.pages import remember, why_not_for

if TYPE_CHECKING:
    from flows.runs import Question

QUESTION_S = 10.0
NOT_THERE, REFUSED = 2, 4


def update(
    session: SessionId,
    instruction: Annotated[
        str, typer.Option("--instruction", metavar="TEXT", help="The answer in plain English; - reads standard input.")
    ] = "",
    approve: Annotated[bool, typer.Option("--approve", help="Go on as proposed.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Go no further: reject the plan, or deploy nothing.")
    ] = False,
    promote: Annotated[str, typer.Option(metavar="NAME", help="At the comparison: deploy this candidate.")] = "",
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field of the gate's form. Repeatable."),
    ] = None,
    name: Annotated[str, typer.Option(help="Your name, kept with the answer.")] = "",
    gate: Annotated[
        str,
        typer.Option("--gate", metavar="KEY", help="Only if this gate waits, or exactly this page, as plan-0a1b2c3d."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Answer what the session waits for. Refused where nothing waits, and where the text is not understood.

    Refused as well, with the page that waits now, where that is another one than `events` or `get` showed last, as a
    plan that somebody has changed meanwhile. --gate KEY (both show it) says exactly what is answered.

    Example: prefworks session update 1779157376-41e1 --instruction "Approved, proceed."

    Example: prefworks session update 1779157376-41e1 --approve --gate plan-0a1b2c3d --name Ada

    Exit codes: 0 answered, 2 no such session or a wrong option, 4 nothing waits, another page waits, or the form does
    not take the answer.
    """
    check_id(session)
    said = sys.stdin.read() if instruction == "-" else instruction
    ways = [bool(instruction), approve, cancel, bool(promote)]
    if sum(ways) + (bool(fields) and not any(ways)) != 1 or (instruction and fields):
        fail(
            'say one of --instruction "Approved, proceed.", --approve, --cancel, --promote NAME, or the form\'s fields '
            "with --set FIELD=VALUE.",
            NOT_THERE,
        )
    connect()
    from prefect.client.orchestration import get_client

    from flows import asking, runs
    from flows.answering import answer_in_words

    with get_client(sync_client=True) as client:
        run, state, question = look(client, session)
        deadline = time.monotonic() + QUESTION_S
        while question is None and state == "waiting" and time.monotonic() < deadline:
            time.sleep(POLL_S)  # Paused comes a moment before the question
            run, state, question = look(client, session)
        if question is None:
            fail(f"session {session} is {state}: nothing waits for an answer.", REFUSED)
        if why_not := why_not_for(Workspace(session), question.key, gate.strip()):
            _refuse(session, question, why_not, as_json=as_json)
        try:
            answer = answer_in_words(question, said) if instruction else {}
            answer = asking.decision(question, asking.YES) if approve else answer
            answer = asking.decision(question, asking.NO) if cancel else answer
            answer = {"decision": "promote", "candidate": promote} if promote else answer
            for field in fields or []:
                key, _, value = field.partition("=")
                answer[key.strip()] = asking.value_of(question, key.strip(), value)
            runs.resume(client, run.id, {**answer, **({"name": name} if name else {})})
        except (asking.CannotAnswer, runs.AnswerRefused, runs.NothingWaits) as error:
            fail(f"session {session}, {question.gate} gate: {error}", REFUSED)
    if as_json:
        typer.echo(json.dumps({"session": session, "gate": question.gate, "key": question.key, "answer": answer}))
    else:
        typer.echo(f"{question.gate}: answered {json.dumps(answer)}")


def _refuse(session: str, question: Question, why: str, *, as_json: bool) -> NoReturn:
    """Show what waits now instead of answering it."""
    remember(Workspace(session), question.key)
    if as_json:
        typer.echo(json.dumps({"session": session, "refused": why, "question": question.as_json()}))
    else:
        typer.echo(f"{question.page}\n", err=True)
    fail(
        f"session {session}: nothing was answered, since {why}. If your answer holds for this page, say it again, or "
        f"with --gate {question.key}.",
        REFUSED,
    )
