"""What a run tells Prefect's event stream, so that automations can act on it: its phases, its gates, its end.

The payload is ours alone (session, phase or gate, state, costs): nothing that a user or a model wrote, which may be a
secret. docs/team.md lists names and fields; they are relied upon, so they only grow.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from prefect.context import FlowRunContext
from prefect.events import emit_event

from blocks.workspace import Workspace
from preference.session import SessionRecord
from tasks.spending import ledger

TAG = "prefect.tag.prefworks"


class EventName(StrEnum):
    PHASE_STARTED = "prefworks.phase.started"
    GATE_WAITING = "prefworks.gate.waiting"
    GATE_ANSWERED = "prefworks.gate.answered"
    RUN_ENDED = "prefworks.run.ended"


def announce(workspace: Workspace, name: EventName, text: str, **facts: Any) -> None:
    """Emit the event about the session's flow run, with what was spent so far; nothing where there is no flow run.

    Prefect sends it from a thread of its own and only logs what fails, so that a run never waits for its server here.
    """
    record = workspace.read("session.json", SessionRecord)
    if record is None or record.flow_run is None:
        return
    context, spent = FlowRunContext.get(), ledger(workspace).spent()
    run = context.flow_run if context else None
    emit_event(
        name,
        resource={
            "prefect.resource.id": f"prefect.flow-run.{record.flow_run}",
            "prefect.resource.name": run.name if run else f"session {workspace.session}",
        },
        related=[{"prefect.resource.id": TAG, "prefect.resource.role": "tag"}],  # also outside of a run's context
        payload={
            "session": workspace.session,
            "text": f"Session {workspace.session} {text}.",
            **facts,
            "spent_usd": spent.usd,
            "spent": spent.text(),
        },
    )
