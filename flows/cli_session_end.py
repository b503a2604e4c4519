"""`prefworks session` cancel and clean: stop a session, and remove what it made."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.workspace import SessionBusy, Workspace
from flows.cli_session import AsJson, SessionId, check_id, find
from flows.connecting import connect
from flows.failing import fail
from preference.session import SessionRecord, SessionState

if TYPE_CHECKING:
    from blocks.fireworks import FireworksPlatform
    from tasks.holdings import Holding

LEFT, NOT_THERE, REFUSED = 1, 2, 4


def cancel(session: SessionId, as_json: AsJson = False) -> None:
    """Cancel a session: its run, its training jobs, its evaluation deployments. Says what it stopped.

    Example: prefworks session cancel 1779157376-41e1

    Exit codes: 0 stopped, 1 something could not be stopped and may cost, 2 no such session, 4 it has ended already.
    """
    check_id(session)
    connect()
    from prefect.client.orchestration import get_client

    from flows.ending import cancel_session
    from flows.runs import find_run

    workspace = Workspace(session)
    record = workspace.read("session.json", SessionRecord)
    with get_client(sync_client=True) as client:
        run = find_run(client, session)
        if record is None and run is None:
            fail(
                f"there is no session {session} here. `prefworks session list` shows those of this machine.", NOT_THERE
            )
        ended = record is not None and record.state not in (SessionState.RUNNING, SessionState.WAITING)
        if (run is None or run.state is None or run.state.is_final()) and (ended or record is None):
            fail(f"session {session} has ended already; `prefworks session clean` removes what is left of it.", REFUSED)
        name = record.request.platform if record else _platform_of(run.parameters if run else {})
        done = cancel_session(client, run, workspace, _platform(name))
    if as_json:
        typer.echo(json.dumps({"session": session, "stopped": done.stopped, "left": done.left}))
    else:
        typer.echo(f"Stopped: {', '.join(done.stopped) or 'nothing was running'}")
        if done.left:
            typer.echo(f"Still there, and it may cost: {', '.join(done.left)}", err=True)
    raise typer.Exit(LEFT if done.left else 0)


def clean(
    session: SessionId,
    winner: Annotated[bool, typer.Option("--winner", help="Also the deployed winner: its endpoint and model.")] = False,
    folder: Annotated[bool, typer.Option("--folder", help="Also the session's folder, with its report.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what an ended session made on the platform: jobs, models, datasets, evaluators, leftover deployments.

    Nothing else is touched, as the names tell (pw-<session>-...). A winner that serves stays, unless --winner.

    Example: prefworks session clean 1779157376-41e1

    Exit codes: 0 removed, 1 something could not be removed, 2 no such session, 4 it still runs, or you said no.
    """
    workspace, record = find(session)
    connect()
    from prefect.client.orchestration import get_client

    from flows.runs import find_run
    from tasks import holdings

    with get_client(sync_client=True) as prefect:
        run = find_run(prefect, session)
    if run and run.state and not run.state.is_final():
        fail(f"session {session} still goes on: `prefworks session cancel {session}` first.", REFUSED)
    platform = _platform(record.request.platform)
    try:
        with workspace.lock(), platform.get_client(session) as client:
            found = holdings.holdings(client, session)
            kept = [] if winner else holdings.serving(workspace, found)
            doomed = [holding for holding in found if holding not in kept]
            _agree(doomed, kept, workspace if folder else None, yes=yes, quiet=as_json)
            removed, left = _remove(platform, session, doomed)
            if folder and not left:
                shutil.rmtree(workspace.folder)
                removed.append(f"folder {workspace.folder}")
    except SessionBusy as error:
        fail(str(error), REFUSED)
    if as_json:
        said = {"session": session, "removed": removed, "kept": [str(h) for h in kept], "left": left}
        typer.echo(json.dumps(said))
    else:
        typer.echo(f"Removed: {', '.join(removed) or 'nothing'}")
        if left:
            typer.echo("Not removed:\n" + "\n".join(left), err=True)
    raise typer.Exit(LEFT if left else 0)


def _agree(doomed: list[Holding], kept: list[Holding], folder: Workspace | None, *, yes: bool, quiet: bool) -> None:
    if not quiet:
        for holding in doomed:
            typer.echo(f"  {holding}")
        if folder:
            typer.echo(f"  folder {folder.folder}")
        if kept:
            typer.echo(f"Kept, since it serves (--winner removes it too): {', '.join(map(str, kept))}")
    if yes or not (doomed or folder):
        return
    if quiet:
        fail("with --json, say --yes: nothing was removed.", REFUSED)
    try:
        agreed = typer.confirm("Remove these?")
    except typer.Abort:  # no terminal, or Ctrl-C
        agreed = False
    if not agreed:
        fail("nothing was removed.", REFUSED)


def _remove(platform: FireworksPlatform, session: str, doomed: list[Holding]) -> tuple[list[str], list[str]]:
    from blocks.errors import PlatformError
    from tasks.holdings import remove

    removed, left = [], []
    with platform.get_client(session) as client:
        for holding in doomed:
            try:
                remove(client, holding)
            except PlatformError as error:
                left.append(f"{holding}: {error}")
            else:
                removed.append(str(holding))
    return removed, left


def _platform_of(parameters: dict[str, object]) -> str:
    request = parameters.get("request")
    return str(request.get("platform", "local")) if isinstance(request, dict) else "local"


def _platform(name: str) -> FireworksPlatform:
    from flows.sessions import CannotStart, load_platform

    try:
        return load_platform(name)
    except CannotStart as error:
        fail(str(error), NOT_THERE)
