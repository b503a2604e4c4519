"""`prefworks session resume`: a session whose process died goes on in a new run, which a worker takes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from flows.cli_session import AsJson, SessionId, find
from flows.connecting import connect
from flows.failing import fail
from preference.session import SessionState

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

    from blocks.workspace import Workspace

NOT_THERE, REFUSED = 2, 4
BEGINS_S = 60.0  # for a process that was started to take the session


def resume(session: SessionId, as_json: AsJson = False) -> None:
    """Go on with a session whose process died, or whose run failed: same request, same jobs, nothing paid twice.

    Its old run is closed in Prefect, and a new one of the same deployment takes the session up where it was left.

    Example: prefworks session resume 1779157376-41e1

    Exit codes: 0 started, 2 no such session or deployment, 4 it has ended, or is being worked on, or waits for you.
    """
    workspace, record = find(session)
    if record.state in (SessionState.SUCCEEDED, SessionState.CANCELLED):
        fail(f"session {session} has ended ({record.state}): start a new one.", REFUSED)
    connect()
    from prefect.client.orchestration import get_client

    from flows.runs import NotThere, close_abandoned, find_run, go_on, run_url

    with get_client(sync_client=True) as client:
        old = find_run(client, session)
        if reason := _why_not(workspace, old):
            fail(f"session {session} {reason}", REFUSED)
        try:
            run = go_on(client, session, old, record.request)
        except NotThere as error:
            fail(str(error), NOT_THERE)
        if old is not None:
            close_abandoned(client, old.id, run.id)
    if as_json:
        typer.echo(json.dumps({"session": session, "flow_run": str(run.id), "url": run_url(run.id)}))
        return
    typer.echo(session)
    typer.echo(f"{run_url(run.id)}\nFollow it: prefworks session events {session} --wait", err=True)


def _why_not(workspace: Workspace, run: FlowRun | None) -> str:
    """Why the session needs nobody to take it up; nothing where it does."""
    if holder := workspace.holder():
        return f"is being worked on by process {holder.pid} on {holder.host}."
    state = run.state if run else None
    if state is None or state.is_final():
        return ""
    if state.is_scheduled():
        return "waits for a worker. Is one running? `make up` starts one."
    if state.name == "Suspended":
        return f"waits for your answer: `prefworks session events {workspace.session}` shows the question."
    age_s = (datetime.now(UTC) - state.timestamp).total_seconds()
    if state.is_pending() and age_s < BEGINS_S:
        return f"was taken by a worker {age_s:.0f} s ago, and its process is starting."
    return ""
