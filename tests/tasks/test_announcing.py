"""What Prefect's event stream is told, seen by Prefect's own client for tests; and a server that is away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.events.clients import AssertingEventsClient
from prefect.events.schemas.events import Event
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.workspace import Workspace
from preference.ledger import Source
from preference.session import Outcome, SessionRecord, SessionState
from preference.settings import PreferenceRequest
from tasks.announcing import EventName, announce
from tasks.progress import begin, enter, say
from tasks.spending import settle

ROOT = Path(__file__).resolve().parents[2]
RUN = "6b255738-210d-4021-b343-5e809839f659"


@pytest.fixture
def told() -> Iterator[Callable[[], list[Event]]]:
    """told(): what was emitted until then."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # nothing is sent there
        EventsWorker.set_client_override(AssertingEventsClient)
        worker = EventsWorker.instance()

        def emitted() -> list[Event]:
            worker.wait_until_empty()
            return [event for client in AssertingEventsClient.all for event in getattr(client, "events", [])]

        yield emitted
        worker.drain()
        EventsWorker.set_client_override(None)
        AssertingEventsClient.reset()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace("1779157376-41e1", tmp_path)
    workspace.write("session.json", SessionRecord(session=workspace.session, flow_run=RUN, request=PreferenceRequest()))
    return workspace


def test_an_event_is_about_the_flow_run_and_says_what_was_spent(workspace, told):
    settle(workspace, "pw-1779157376-41e1-t1", "Training", 1.25, Source.COMPUTED)
    announce(workspace, EventName.GATE_WAITING, "waits for an answer at the plan gate", gate="plan", asked_usd=4.0)
    [event] = told()
    assert event.event == "prefworks.gate.waiting"
    assert event.resource.id == f"prefect.flow-run.{UUID(RUN)}"
    assert [resource.id for resource in event.related] == ["prefect.tag.prefworks"]
    assert event.payload == {
        "session": "1779157376-41e1",
        "text": "Session 1779157376-41e1 waits for an answer at the plan gate.",
        "gate": "plan",
        "asked_usd": 4.0,
        "spent_usd": 1.25,
        "spent": "1.25 USD spent so far.",
    }


def test_a_phase_is_told_once_a_session_however_often_a_run_comes_by(workspace, told):
    for phase in ("inspect", "plan", "inspect", "plan"):
        begin(workspace, phase)
    assert [(e.event, e.payload["phase"]) for e in told()] == [
        ("prefworks.phase.started", "inspect"),
        ("prefworks.phase.started", "plan"),
    ]


def test_an_end_is_told_without_its_message_which_may_hold_what_a_user_wrote(workspace, told):
    say(workspace, "plan", "answered: {'change': 'my key is fw_secret'}")
    enter(workspace, SessionState.WAITING)
    enter(workspace, SessionState.FAILED, Outcome.FAILED, "ValueError: fw_secret")
    [event] = told()
    assert (event.event, event.payload["state"], event.payload["outcome"]) == (
        "prefworks.run.ended",
        "failed",
        "failed",
    )
    assert "fw_secret" not in event.model_dump_json()


def test_an_end_is_told_once(workspace, told):
    for _ in range(2):
        enter(workspace, SessionState.CANCELLED, Outcome.CANCELLED)
    assert [event.payload["outcome"] for event in told()] == ["cancelled"]


def test_without_a_flow_run_nothing_is_told(workspace, told):
    workspace.write("session.json", SessionRecord(session=workspace.session, request=PreferenceRequest()))
    begin(workspace, "inspect")
    assert told() == []


ANNOUNCE = """
import pathlib, sys
from blocks.workspace import Workspace
from tasks.progress import begin
begin(Workspace("1779157376-41e1", pathlib.Path(sys.argv[1])), "inspect")
"""


@pytest.mark.slow
def test_a_server_that_is_away_fails_nothing(workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    subprocess.run([sys.executable, "-c", ANNOUNCE, str(tmp_path)], cwd=ROOT, check=True, timeout=120)
    assert [line["phase"] for line in workspace.lines("phases.jsonl")] == ["inspect"]
