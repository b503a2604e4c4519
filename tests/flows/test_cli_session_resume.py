"""`prefworks session resume`: whom it takes up, whom it leaves alone, and what it asks for then."""

from __future__ import annotations

import json
import signal
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.states import Running

from blocks.workspace import Workspace
from preference.session import SessionRecord, SessionState
from preference.settings import PreferenceRequest
from tests.flows.test_recovery import jobs, wait_for


def test_only_a_session_whose_process_died_is_taken_up_and_only_once(session_command, create_session, home):
    made = create_session(max_active_jobs=2)
    session, old = made["session"], UUID(made["flow_run"])
    assert session_command("resume", session).exit_code == 2  # no process has begun it yet
    workspace = Workspace(session, home)
    with get_client(sync_client=True) as client:
        asked = client.read_flow_run(old).parameters["request"]
        record = SessionRecord(
            session=session, request=PreferenceRequest.model_validate(asked), flow_run=made["flow_run"]
        )
        workspace.write("session.json", record)
        result = session_command("resume", session)
        assert (result.exit_code, "waits for a worker" in result.stderr) == (4, True), result.stderr

        client.set_flow_run_state(old, Running(), force=True)
        with workspace.lock():
            result = session_command("resume", session)
        assert (result.exit_code, "is being worked on by process" in result.stderr) == (4, True), result.stderr

        result = session_command("resume", session, "--json")
        assert result.exit_code == 0, result.output
        new = UUID(json.loads(result.stdout)["flow_run"])
        run = client.read_flow_run(new)
        # what nobody gave stays ungiven: a default that is given would win over an instruction
        assert run.parameters == {"request": {**asked, "session": session}}
        assert run.deployment_id == client.read_flow_run(old).deployment_id
        state = client.read_flow_run(old).state
        assert state is not None
        assert (state.is_crashed(), state.message) == (
            True,
            f"its process died; the session goes on in flow run {new}",
        )
        result = session_command("resume", session)
        assert (result.exit_code, "waits for a worker" in result.stderr) == (4, True), result.stderr

        workspace.write("session.json", record.model_copy(update={"state": SessionState.CANCELLED}))
        result = session_command("resume", session)
        assert (result.exit_code, "has ended (cancelled)" in result.stderr) == (4, True), result.stderr
        client.delete_flow_run(new)


def test_cancel_ends_what_a_killed_process_left(local_server, create_session, work, session_command, home):
    made = create_session("!hang", auto_approve_up_to_usd=0)
    process = work(made["flow_run"])
    wait_for(lambda: "RUNNING" in "".join(job["state"] for job in jobs(local_server.url).values()), "a job")
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = session_command("cancel", made["session"])
    assert (result.exit_code, f"job pw-{made['session']}-t1" in result.stdout) == (0, True), result.output
    assert {job["state"] for job in jobs(local_server.url).values()} <= {"JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED"}
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(UUID(made["flow_run"])).state.is_cancelled()
    record = Workspace(made["session"], home).read("session.json", SessionRecord)
    assert record is not None
    assert record.state is SessionState.CANCELLED
