"""What a run says of itself: its log, its events file, its state."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from blocks.workspace import Workspace
from preference.session import Outcome, SessionRecord, SessionState
from tasks.announcing import EventName, announce

TIMINGS = "timings.jsonl"
PHASES = "phases.jsonl"
_ENDED = (SessionState.SUCCEEDED, SessionState.FAILED, SessionState.CANCELLED)
_TURN = threading.Lock()


def begin(workspace: Workspace, phase: str) -> None:
    """Tell Prefect that the session is now in this phase; once a session, however often a run comes by."""
    with _TURN:
        if any(line["phase"] == phase for line in workspace.lines(PHASES)):
            return
        workspace.append(PHASES, {"phase": phase})
    announce(workspace, EventName.PHASE_STARTED, f"began phase {phase}", phase=phase)


def say(workspace: Workspace, phase: str, text: str, **facts: Any) -> None:
    """One line of progress, in events.jsonl and in the run's log."""
    workspace.append("events.jsonl", {"phase": phase, "text": text, **facts})
    logger().info("%s: %s", phase, text)


@contextmanager
def timed(workspace: Workspace, what: str) -> Iterator[None]:
    """Keep how long it took, for the report's actual cost; also when it ends in an error."""
    begun = time.monotonic()
    try:
        yield
    finally:
        workspace.append(TIMINGS, {"what": what, "seconds": round(time.monotonic() - begun, 1)})


def logger() -> Any:
    """The run's logger; an ordinary one where no run is under way."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("prefworks")


def enter(workspace: Workspace, state: SessionState, outcome: Outcome | None = None, message: str = "") -> None:
    """Record that the session is now in this state; an end is told to Prefect, too."""
    record = workspace.read("session.json", SessionRecord)
    if record is None:
        raise RuntimeError(f"session {workspace.session} was never opened")
    update = {"state": state, "outcome": outcome, "message": message}
    workspace.write("session.json", record.model_copy(update=update))
    if state in _ENDED and record.state not in _ENDED:
        told = outcome or state
        how = told.replace("_", " ")
        announce(workspace, EventName.RUN_ENDED, f"ended: {how}", state=state.value, outcome=told.value)
