"""Sessions from the shell, on Prefect's own server; the worker is a process of the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from prefect.settings import PREFECT_API_URL, get_current_settings
from typer.testing import CliRunner, Result

from blocks.workspace import Workspace
from flows.cli import app
from flows.events import Events, line_of
from flows.preference_learning import preference_learning

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "1779157376-ffff"


def session(*args: str) -> Result:
    return CliRunner().invoke(app, ["session", *args])


@pytest.fixture
def request_file(local_server, make_request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A request on the scripted server, with our flow deployed on the Prefect server that the shell speaks to."""
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    preference_learning.to_deployment("preference-learning").apply()
    file = tmp_path / "request.yaml"
    file.write_text(yaml.safe_dump(make_request(local_server.url)["request"]))
    return file


def created(request_file: Path, *args: str) -> dict[str, str]:
    result = session("create", "--request", str(request_file), "--json", *args)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def work(flow_run: str) -> subprocess.Popen[bytes]:
    """What a worker does with the run."""
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    command = [sys.executable, "-m", "flows.execute", flow_run]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings})


@pytest.fixture
def worked(request_file: Path) -> Callable[..., dict[str, str]]:
    """A session that some process works on, as it was created; the process is ended with the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*args: str) -> dict[str, str]:
        made = created(request_file, *args)
        processes.append(work(made["flow_run"]))
        return made

    yield start
    for process in processes:
        process.terminate()
        process.wait(60)


def test_a_session_is_created_followed_answered_and_read(worked):
    made = worked()["session"]

    waiting = session("events", made, "--wait", "--json")
    assert waiting.exit_code == 3, waiting.output
    *lines, last = [json.loads(line) for line in waiting.stdout.splitlines()]
    assert lines[0]["phase"] == "inspect"
    assert (last["state"], last["question"]["gate"]) == ("waiting", "plan")
    assert "Plan: tune" in last["question"]["page"]

    refused = session("update", made, "--promote", "t1")
    assert (refused.exit_code, "plan gate" in refused.stderr) == (4, True), refused.output
    assert session("update", made, "--approve", "--name", "Ada").exit_code == 0
    assert session("events", made, "--wait").exit_code == 3
    answered = session("update", made, "--promote", "t1", "--json")
    assert json.loads(answered.stdout) == {
        "session": made,
        "gate": "comparison",
        "answer": {"decision": "promote", "candidate": "t1"},
    }
    ended = session("events", made, "--wait")
    assert ended.exit_code == 0
    assert "[3 sweep] t1" in ended.stdout
    assert f"{made}: promoted " in ended.stdout.splitlines()[-1]
    assert "plan gate: approve by Ada" in session("report", made).stdout

    again = session("update", made, "--approve")
    assert (again.exit_code, "is succeeded: nothing waits for an answer" in again.stderr) == (4, True)


def test_cancel_at_a_gate_rejects_the_plan(worked):
    made = worked()["session"]
    assert session("events", made, "--wait").exit_code == 3
    assert session("update", made, "--cancel").exit_code == 0
    ended = session("events", made, "--wait")
    assert (ended.exit_code, "rejected" in ended.stdout.splitlines()[-1]) == (1, True), ended.output


def test_create_does_not_wait_for_a_worker(request_file):
    made = created(request_file, "--set", "max_active_jobs=2")
    result = session("events", made["session"])
    assert (result.exit_code, result.stdout) == (0, f"{made['session']}: scheduled\n")
    assert not Workspace(made["session"]).folder.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("create", "--set", "dataset=a.jsonl"), "base_model"),
        (("create", "--set", "betas"), "not FIELD=VALUE"),
        (("create", "--request", "{request}", "--deployment", "preference-learning/nobody-s"), "knows no deployment"),
        (("events", NOBODY), f"there is no session {NOBODY}"),
        (("events", "../etc"), "is not a session's ID"),
        (("update", NOBODY), "say one of --approve"),
        (("update", NOBODY, "--approve", "--cancel"), "say one of --approve"),
    ],
)
def test_what_cannot_be_is_said_and_ends_with_2(request_file, args, message):
    result = session(*(arg.format(request=request_file) for arg in args))
    assert (result.exit_code, message in result.stderr) == (2, True), result.output


def test_a_trial_s_line_has_its_loss_and_the_time_left(tmp_path):
    workspace = Workspace("1779157376-41e1", tmp_path)
    progress = {"step": 14, "total_steps": 56, "loss": 0.62, "eta_s": 40.2}
    workspace.write("trials/t1/progress.json", progress)
    events = Events(workspace)
    [event] = events.new()
    assert line_of({"at": "2026-11-24T14:03:22+00:00", **event}) == (
        "14:03:22 [3 sweep] t1: step 14 of 56, loss 0.62, about 40 s left"
    )
    assert events.new() == []
