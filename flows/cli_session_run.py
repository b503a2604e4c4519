"""`prefworks session` create and events: a run that a worker does, started and followed from here.

Everything asked of a session is in Prefect or in the session's folder; nothing is kept elsewhere.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from blocks.workspace import Workspace
from flows.cli_session import AsJson, SessionId, check_id
from flows.connecting import connect
from flows.events import Events, line_of
from flows.failing import fail
from flows.pages import remember
from flows.requesting import Fields, Instruction, made_request
from preference.session import SessionRecord, SessionState

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from flows.runs import Question

POLL_S = 1.0
DEAD_S = 10.0  # a run that is taken up again says so in Prefect a moment before it holds its folder
ENDED_OTHERWISE, NOT_THERE, WAITS, INTERRUPTED = 1, 2, 3, 130
EXAMPLES = {"inputs": "Use Qwen3 8B.", "comparison": "Proceed with the winning config."}  # of answers, by gate
console = Console()


def create(
    instruction: Instruction = "",
    request: Annotated[
        Path | None, typer.Option("--request", help="A request file (YAML).", exists=True, dir_okay=False)
    ] = None,
    fields: Fields = None,
    session: Annotated[str, typer.Option(help="Go on with this session, whose run died.")] = "",
    deployment: Annotated[
        str, typer.Option(help="Which deployment runs it.")
    ] = "preference-learning/preference-learning",
    as_json: AsJson = False,
) -> None:
    """Start a run of the deployment, print its session's ID and come back at once; a worker does the run.

    Example: prefworks session create --instruction "Run DPO on accounts/me/datasets/prefs using Qwen3 32B."

    Example: prefworks session create --request examples/concise/request.yaml --set max_active_jobs=2

    Exit codes: 0 started, 2 the request is not valid, or there is no such deployment.
    """
    asked = made_request(request, instruction, fields or [], check_id(session) if session else "")
    connect()
    from prefect.client.orchestration import get_client

    from flows.runs import NotThere, create_run, run_url, session_of

    with get_client(sync_client=True) as client:
        try:
            run = create_run(client, asked, deployment)
        except NotThere as error:
            fail(str(error), NOT_THERE)
    made = session_of(run)
    if as_json:
        typer.echo(json.dumps({"session": made, "flow_run": str(run.id), "url": run_url(run.id)}))
        return
    typer.echo(made)
    typer.echo(f"{run_url(run.id)}\nFollow it: prefworks session events {made} --wait", err=True)


def events(
    session: SessionId,
    wait: Annotated[bool, typer.Option("--wait", help="Until it waits for an answer, or has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """What a session did, phase by phase, with each trial's loss and time left, and the cost so far.

    With --wait, follow it; at a terminal, what it waits for is asked here. Where it waits, the gate's page and its key
    (plan-0a1b2c3d) come last. With --json, each line is an object, and the last one says the state and the question.

    Example: prefworks session events 1779157376-41e1 --wait

    Exit codes: 0 it succeeded (or goes on), 1 it failed or was cancelled, or its process died, 2 no such session, 3 it
    waits for an answer, 130 Ctrl-C; the session goes on.
    """
    check_id(session)
    connect()
    try:
        raise typer.Exit(_told(session, wait=wait, as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _told(session: str, *, wait: bool, as_json: bool) -> int:
    """Print what there is, and with wait what comes; the exit code."""
    from prefect.client.orchestration import get_client

    from flows.asking import can_ask

    told, lines, alive_at = False, Events(Workspace(session)), time.monotonic()
    with get_client(sync_client=True) as client:
        while True:
            run, state, question = look(client, session)
            for event in lines.new():
                typer.echo(json.dumps(event, ensure_ascii=False) if as_json else line_of(event))
            asks = wait and state == "waiting" and question is not None and not as_json and can_ask()
            if asks and question and _ask(client, run, question, lines.workspace):
                continue
            over = state == "waiting" and question is not None
            over = over or state in ("succeeded", "failed", "cancelled")
            if over or not wait:
                return _last_line(session, run, state, question, as_json=as_json, shown=asks)
            if state != "running" or not process_died(session):
                alive_at = time.monotonic()
            elif time.monotonic() - alive_at > DEAD_S:
                fail(f"the process of session {session} died. Go on: prefworks session resume {session}", 1)
            if state == "scheduled" and not told and run and run.state and run.state.name == "Late":
                typer.echo("No worker has taken the run yet. Is one running? `make up` starts one.", err=True)
                told = True
            time.sleep(POLL_S)


def look(client: SyncPrefectClient, session: str) -> tuple[FlowRun, str, Question | None]:
    """The session's run, its state (a SessionState, or scheduled before a worker took it), and what it waits for."""
    from flows.runs import find_run, question_of

    record = Workspace(session).read("session.json", SessionRecord)
    run = find_run(client, session)
    if run is None or run.state is None:
        where = "this Prefect server knows no run of it"
        fail(f"there is no session {session}: {where}. `prefworks session list` shows those of this machine.")
    if run.state.is_final():
        ended = record is not None and record.state not in (SessionState.RUNNING, SessionState.WAITING)
        return run, record.state if record and ended else SessionState.FAILED, None
    if run.state.is_paused():
        return run, SessionState.WAITING, question_of(client, run)
    return run, SessionState.RUNNING if run.state.is_running() else "scheduled", None


def process_died(session: str) -> bool:
    """Whether the session's folder is here and says that it goes on, and no process holds it."""
    workspace = Workspace(session)
    record = workspace.read("session.json", SessionRecord)
    return record is not None and record.state is SessionState.RUNNING and workspace.holder() is None


def _last_line(session: str, run: FlowRun, state: str, question: Question | None, *, as_json: bool, shown: bool) -> int:
    """Where the session stands; shown: the question's page has been, above."""
    workspace = Workspace(session)
    if question:
        remember(workspace, question.key)
    record = workspace.read("session.json", SessionRecord)
    message = (record.message if record else "") or (run.state.message if run.state else "") or ""
    outcome = record.outcome if record else None
    if as_json:
        last: dict[str, Any] = {"phase": "session", "session": session, "state": state, "outcome": outcome}
        asked = question.as_json() if question else None
        typer.echo(json.dumps({**last, "message": message, "question": asked}, ensure_ascii=False))
    elif question:
        if not shown:
            typer.echo(f"{question.page}\n")
        typer.echo(
            f"{session}: waiting at the {question.gate} gate ({question.key}). Answer: "
            f'prefworks session update {session} --instruction "{EXAMPLES.get(question.gate, "Approved, proceed.")}"'
        )
    else:
        typer.echo(f"{session}: {outcome or state} {message}".rstrip())
    if state == "waiting":
        return WAITS
    return ENDED_OTHERWISE if state in ("failed", "cancelled") else 0


def _ask(client: SyncPrefectClient, run: FlowRun, question: Question, workspace: Workspace) -> bool:
    """Ask at the terminal; False where the input has ended. Ctrl-C answers nothing, and ends more than the question."""
    from flows.asking import ask, show
    from flows.runs import AnswerRefused, NothingWaits, resume

    show(question, console)
    remember(workspace, question.key)
    try:
        resume(client, run.id, ask(question, console))
    except EOFError:
        console.print("\nNothing was answered.")
        return False
    except KeyboardInterrupt:
        console.print(f"\nNothing was answered; session {workspace.session} waits.", highlight=False)
        raise
    except NothingWaits:
        console.print("It was answered elsewhere meanwhile.")
    except AnswerRefused as refusal:
        console.print(f"The form does not take this: {refusal}")
    return True
