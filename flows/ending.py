"""How a session is ended from outside its run: the run, its jobs and its evaluation stopped, and what was is said."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Cancelling

from blocks.errors import PlatformError
from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from flows import deadlines
from flows.sessions import stop_everything
from preference.session import Outcome, SessionRecord, SessionState
from tasks.holdings import Holding, under_way
from tasks.progress import enter
from tasks.reporting import publish_report

WORKER_S = 45.0  # a worker looks for cancelled runs and gives their processes 30 s
PROCESS_S = 60.0  # to cancel jobs and take deployments down
POLL_S = 0.5


@dataclass
class Stopped:
    """What a cancellation stopped, and what it could not."""

    stopped: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def cancel_session(
    client: SyncPrefectClient, run: FlowRun | None, workspace: Workspace, platform: FireworksPlatform
) -> Stopped:
    """Cancel the run, end its process, and stop what the session left running on the platform."""
    result = Stopped()
    before = _under_way(platform, workspace, result)
    if run and run.state and not run.state.is_final():
        _end_run(client, run, workspace)
        result.stopped.append(f"flow run {run.name}")
    deadlines.forget(workspace.session)
    if workspace.holder():
        result.left.append("the session's process, which did not end")
    if workspace.folder.exists():
        stop_everything(platform, workspace)
    after = set(_under_way(platform, workspace, result))
    result.stopped += [str(holding) for holding in before if holding not in after]
    result.left += [str(holding) for holding in sorted(after)]
    record = workspace.read("session.json", SessionRecord)
    if record and record.state in (SessionState.RUNNING, SessionState.WAITING) and not workspace.holder():
        enter(workspace, SessionState.CANCELLED, Outcome.CANCELLED, "the session was cancelled from the shell")
        publish_report(workspace)
    return result


def _under_way(platform: FireworksPlatform, workspace: Workspace, result: Stopped) -> list[Holding]:
    try:
        with platform.get_client(workspace.session) as client:
            return under_way(client, workspace.session)
    except PlatformError as error:
        result.left.append(f"what is on the platform, which could not be asked: {error}")
        return []


def _end_run(client: SyncPrefectClient, run: FlowRun, workspace: Workspace) -> None:
    """By its worker where it has one; else by the signal that Ctrl-C's follower sends; and Prefect is told."""
    client.set_flow_run_state(run.id, Cancelling(message="cancelled from the shell"))
    if run.deployment_id and workspace.holder():
        _wait(lambda: _is_final(client, run.id) and not workspace.holder(), WORKER_S)
    holder = workspace.holder()
    if holder and holder.is_here:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.kill(holder.pid, signal.SIGTERM)
        _wait(lambda: not workspace.holder(), PROCESS_S)
    if not _is_final(client, run.id) and not workspace.holder():
        client.set_flow_run_state(run.id, Cancelled(message="cancelled from the shell"), force=True)


def _is_final(client: SyncPrefectClient, run_id: UUID) -> bool:
    state = client.read_flow_run(run_id).state
    return state is not None and state.is_final()


def _wait(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_S)
