"""`prefworks session`: list, get and report read the sessions' folders in $PREFWORKS_HOME, and need no server.

Only what a session waits for is Prefect's to say, so get asks it where it can be reached.

Exit codes: 0 found, 2 not a session's ID or nothing there.
"""

from __future__ import annotations

import json
import os
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from blocks.workspace import Workspace, prefworks_home
from flows import services
from flows.connecting import connect
from flows.failing import fail
from flows.pages import remember
from preference.session import SessionRecord, SessionState, is_session_id

if TYPE_CHECKING:
    from flows.runs import Question

app = typer.Typer(help="Sessions: start them, follow them, answer them, end them, look at them.", no_args_is_help=True)
console = Console()

SessionId = Annotated[str, typer.Argument(metavar="ID", help="A session's ID, such as 1779157376-41e1.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_sessions(
    status: Annotated[SessionState | None, typer.Option(help="Only sessions in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """The sessions on this machine, newest first.

    Example: prefworks session list --status waiting

    Exit codes: 0, also where there are none.
    """
    records = [r for r in session_records() if status is None or r.state is status]
    if as_json:
        typer.echo("[" + ",\n".join(r.model_dump_json() for r in records) + "]")
        return
    table = Table("session", "state", "outcome", "dataset or instruction", "message")
    for r in records:
        table.add_row(
            r.session,
            r.state,
            r.outcome or "",
            r.request.dataset.rsplit("/", 1)[-1] or shorten(r.request.instruction, 60, placeholder=" …"),
            shorten(r.message, 120, placeholder=" …"),
        )
    console.print(table if records else f"No sessions in {prefworks_home() / 'sessions'}.")


@app.command()
def get(session: SessionId, as_json: AsJson = False) -> None:
    """Where one session stands, its last lines, and the page that it waits at, with the gate's key.

    One that no worker has taken yet, and what a session waits for, are looked up in Prefect, where a server is there.

    Example: prefworks session get 1779157376-41e1

    Exit codes: 0 found, 2 not a session's ID, or no such session.
    """
    if not Workspace(check_id(session)).folder.exists() and _is_scheduled(session):
        message = "no worker has taken it yet"
        as_text = json.dumps({"session": session, "state": "scheduled", "message": message})
        typer.echo(as_text if as_json else f"{session}: scheduled; {message}")
        return
    workspace, record = find(session)
    question = _question(session) if record.state is SessionState.WAITING else None
    if question:
        remember(workspace, question.key)
    if as_json:
        asked = question.as_json() if question else None
        typer.echo(json.dumps({**record.model_dump(mode="json"), "question": asked}, indent=1, ensure_ascii=False))
        return
    if question:
        typer.echo(f"{question.page}\n")
    at = f"at the {question.gate} gate ({question.key})" if question else ""
    typer.echo(" ".join(f"{record.session}: {record.outcome or record.state} {at} {record.message}".split()))
    for event in workspace.lines("events.jsonl")[-5:]:
        typer.echo(f"{event['at'][11:19]} {event['phase']}: {event['text']}")
    typer.echo(f"Folder {workspace.folder}")


@app.command()
def report(session: SessionId, as_json: AsJson = False) -> None:
    """The session's final report.

    Example: prefworks session report 1779157376-41e1

    Exit codes: 0 printed, 2 no such session, or it has not ended.
    """
    workspace, record = find(session)
    file = workspace.folder / "final_report.md"
    if not file.exists():
        fail(f"session {session} is {record.state} and has no report yet; one is written when it ends.")
    if as_json:
        typer.echo(json.dumps({"session": session, "report": file.read_text("utf-8")}))
    elif console.is_terminal:
        console.print(Markdown(file.read_text("utf-8")))
    else:
        typer.echo(file.read_text("utf-8"))


def _question(session: str) -> Question | None:
    """What it waits for, if a Prefect server that we can reach knows it."""
    if not _has_server():
        return None
    try:
        connect()
    except typer.Exit:  # it has said why; the folder tells the rest
        return None
    from prefect.client.orchestration import get_client

    from flows.runs import find_run, question_of

    with get_client(sync_client=True) as client:
        run = find_run(client, session)
        return question_of(client, run) if run else None


def _is_scheduled(session: str) -> bool:
    """Whether the Prefect server that we would speak to, if there is one, has a run for it that did not begin."""
    if not _has_server():
        return False
    connect()
    from prefect.client.orchestration import get_client

    from flows.runs import find_run

    with get_client(sync_client=True) as client:
        run = find_run(client, session)
    return run is not None and run.state is not None and (run.state.is_scheduled() or run.state.is_pending())


def _has_server() -> bool:
    """Whether there is a Prefect server that we would speak to."""
    return "PREFECT_API_URL" in os.environ or services.running("prefect-server") is not None


def session_records() -> list[SessionRecord]:
    """The record of every session in the folder, newest first."""
    folder = prefworks_home() / "sessions"
    names = [f.name for f in folder.iterdir() if is_session_id(f.name)] if folder.exists() else []
    found = [Workspace(name).read("session.json", SessionRecord) for name in names]
    return sorted((r for r in found if r), key=lambda r: int(r.session.split("-")[0]), reverse=True)


def check_id(session: str) -> str:
    """The ID, if it is one."""
    if not is_session_id(session):
        fail(f"{session!r} is not a session's ID, such as 1779157376-41e1. `prefworks session list` shows yours.")
    return session


def find(session: str) -> tuple[Workspace, SessionRecord]:
    workspace = Workspace(check_id(session))
    record = workspace.read("session.json", SessionRecord)
    if record is None:
        fail(f"there is no session {session} in {prefworks_home()}. `prefworks session list` shows what is there.")
    return workspace, record
