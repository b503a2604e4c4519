"""What a killed or cancelled flow leaves behind, and how the same session goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.settings import get_current_settings
from prefect.states import AwaitingRetry, Crashed

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.session import Outcome, SessionRecord

ROOT = Path(__file__).resolve().parents[2]
SESSION = "1779157376-41e1"
FOUR = {"learning_rates": [1e-4, 3e-4], "betas": [0.1, 0.3], "max_context_length": 512}


def start(parameters: dict) -> tuple[UUID, subprocess.Popen]:
    """The flow in a process of its own, as the shell and the worker run it."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(preference_learning, parameters=parameters)
    return run.id, execute(run.id)


def execute(run_id: UUID) -> subprocess.Popen:
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    command = [sys.executable, "-m", "flows.execute", str(run_id)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings})


def jobs(url: str) -> dict[str, dict]:
    found = httpx.get(f"{url}/v1/accounts/local/dpoJobs").json()["dpoJobs"]
    return {job["name"].rsplit("/", 1)[-1]: job for job in found}


def state_of(run_id: UUID) -> State:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id).state


def waits(workspace: Workspace, gate: str) -> bool:
    return any(event["phase"] == gate for event in workspace.lines("events.jsonl"))


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 240) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.1)


@pytest.mark.slow
def test_after_kill_9_in_the_sweep_the_session_goes_on_and_no_job_is_submitted_twice(
    local_server, make_request, answering, home
):
    parameters = make_request(local_server.url, "!steps=20 pause=0.2", sweep=FOUR, session=SESSION)
    with answering({"plan": {"decision": "approve"}}):
        _, process = start(parameters)
        wait_for(lambda: len(jobs(local_server.url)) == 4, "four jobs")
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = jobs(local_server.url)
    assert any(job["state"] != "JOB_STATE_COMPLETED" for job in before.values())

    with answering({"comparison": {"decision": "promote", "candidate": "t1"}}) as gates:
        run_id, process = start(parameters)
        assert process.wait(180) == 0
    after = jobs(local_server.url)
    assert {id: (job["createTime"], job["trainingSeed"]) for id, job in after.items()} == {
        id: (job["createTime"], job["trainingSeed"]) for id, job in before.items()
    }
    assert all(job["state"] == "JOB_STATE_COMPLETED" for job in after.values())
    assert [gate for gate, _ in gates.pages] == ["comparison"]  # the plan was approved, and is not asked about again
    assert state_of(run_id).is_completed()


@pytest.fixture
def own_server(hollow_model, scripted_children, tmp_path):
    """own_server() starts the local server, or starts it again, at the same address: its URL and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path / "server"
    home.mkdir()
    (home / "models.toml").write_text(f'tiny = "{hollow_model}"\n')
    training, generation = (" ".join(command) for command in scripted_children)
    options = ["--home", str(home), "--port", str(port), "--jobs-at-once", "2"]
    options += ["--training-command", training, "--generation-command", generation]
    started: list[subprocess.Popen] = []

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health").is_success
        except httpx.TransportError:
            return False

    def run() -> tuple[str, subprocess.Popen]:
        started.append(subprocess.Popen([sys.executable, "-m", "local_server", *options], cwd=ROOT))
        wait_for(answers, "the server")
        return f"http://127.0.0.1:{port}", started[-1]

    yield run
    for process in started:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_server_that_is_killed_and_started_again_goes_on_with_the_same_jobs(
    own_server, make_request, answering, home
):
    """The flow waits for it. Two jobs run when it dies, two have not been asked for."""
    url, server = own_server()
    parameters = make_request(url, "!steps=20 pause=0.2", sweep=FOUR, session=SESSION, max_active_jobs=2)
    with answering({"plan": {"decision": "approve"}, "comparison": {"decision": "stop"}}):
        run_id, process = start(parameters)
        wait_for(lambda: sum(job["state"] == "JOB_STATE_RUNNING" for job in jobs(url).values()) == 2, "two jobs", 300)
        before = jobs(url)
        server.send_signal(signal.SIGKILL)
        server.wait()
        time.sleep(8)  # longer than a look at a job
        own_server()
        assert process.wait(300) == 0
    assert state_of(run_id).name == "NotPromoted"
    after = jobs(url)
    assert len(before) == 2
    assert len(after) == 4
    assert {job["state"] for job in after.values()} == {"JOB_STATE_COMPLETED"}
    assert all(after[name]["createTime"] == job["createTime"] for name, job in before.items())


@pytest.mark.slow
def test_after_kill_9_at_a_gate_the_session_asks_again_and_answers_nothing_twice(
    local_server, make_request, answering, home
):
    parameters = make_request(local_server.url, session=SESSION)
    workspace = Workspace(SESSION, home)
    changed = [{"decision": "change", "change": "Use LoRA rank 16."}, {"decision": "approve"}]
    with answering({"plan": changed}):
        killed, process = start(parameters)
        wait_for(lambda: state_of(killed).is_paused() and waits(workspace, "comparison"), "the comparison gate")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with answering({"comparison": {"decision": "continue"}, "promotion": {"decision": "approve"}}) as gates:
        _, process = start(parameters)
        assert process.wait(120) == 0
    assert [gate for gate, _ in gates.pages] == ["comparison", "promotion"]
    answers = [line["answer"]["decision"] for line in workspace.lines("approvals.jsonl")]
    assert answers == ["change", "approve", "continue", "approve"]
    record = workspace.read("session.json", SessionRecord)
    assert record is not None
    assert record.outcome is Outcome.PROMOTED
    assert state_of(killed).is_crashed()  # its form in the UI is closed: nobody would read the answer
    text = workspace.path("final_report.md").read_text()
    assert "in flight when a process died" not in text
    assert "20 answers of `accounts/fireworks/models/tiny`" in text  # each held-out prompt once


@pytest.mark.slow
def test_a_retry_by_force_asks_again_and_takes_nobody_s_empty_form_for_an_answer(
    local_server, make_request, answering, home
):
    """As Prefect's new UI retries: its server goes on knowing that the run has paused at this gate."""
    parameters = make_request(local_server.url, session=SESSION, base_model="no-such-model")
    run_id, process = start(parameters)
    wait_for(lambda: state_of(run_id).is_paused(), "the form before the plan")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Crashed(), force=True)
        client.set_flow_run_state(run_id, AwaitingRetry(), force=True)
        assert client.read_flow_run(run_id).empirical_policy.pause_keys
    with answering({"inputs": {"decision": "stop"}}) as gates:
        assert execute(run_id).wait(120) == 0
    assert [gate for gate, _ in gates.pages] == ["inputs"]
    answers = [line["answer"]["decision"] for line in Workspace(SESSION, home).lines("approvals.jsonl")]
    assert answers == ["stop"]


@pytest.mark.slow
def test_a_run_that_is_told_to_end_cancels_its_jobs_and_says_so(local_server, make_request, answering, home):
    parameters = make_request(local_server.url, "!hang", sweep=FOUR, session=SESSION)
    with answering({"plan": {"decision": "approve"}}):
        _, process = start(parameters)
        wait_for(lambda: len(jobs(local_server.url)) == 4, "four jobs")
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    wait_for(
        lambda: all(job["state"] == "JOB_STATE_CANCELLED" for job in jobs(local_server.url).values()),
        "all jobs to be cancelled",
    )
    assert "**Cancelled.** the run was cancelled" in Workspace(SESSION, home).path("final_report.md").read_text()
