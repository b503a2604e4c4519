"""`wait: suspend` with Prefect's own worker: no process while it waits, and nothing done twice afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from blocks.workspace import Workspace
from tests.e2e.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def flow_processes(home: Path) -> list[psutil.Process]:
    """What the worker of this folder has started and not yet seen end."""
    worker = psutil.Process(json.loads((home / "run" / "prefect-worker.json").read_text())["pid"])
    return worker.children(recursive=True)


@pytest.fixture
def create(prefect_up, local_server, pairs_and_judge, save_block, shell) -> Callable[..., Workspace]:
    """create(**fields): the folder of a session of two trials that suspends."""
    home = Path(prefect_up[1]["PREFWORKS_HOME"])

    def start(**more: object) -> Workspace:
        save_block("scripted", local_server.url)
        fields = {**pairs_and_judge, "base_model": "tiny", "platform": "scripted", "wait": "suspend", **more}
        fields["sweep"] = "{learning_rates: [1.0e-4, 3.0e-4], betas: [0.1], max_context_length: 512}"
        code, said = shell("create", "--json", *(f"--set={name}={value}" for name, value in fields.items()))
        assert code == 0, said
        return Workspace(json.loads(said)["session"], home)

    return start


def scheduled_deadlines(prefect) -> list[str]:
    asked = {"flows": {"name": {"any_": ["preference-learning-deadline"]}}}
    found = prefect.post("/flow_runs/filter", {**asked, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
    return [run["name"] for run in found]


def test_a_suspended_run_frees_its_process_and_repeats_nothing(prefect_up, local_server, create, shell):
    prefect, environment = prefect_up
    home = Path(environment["PREFWORKS_HOME"])
    workspace = create()
    session = workspace.session

    for answer in (["--approve"], ["--promote", "t2"]):
        code, said = shell("events", session, "--wait")
        assert code == 3, said
        run = prefect.http.get(f"/flow_runs/{workspace.read_json('session.json')['flow_run']}").json()
        assert run["state"]["name"] == "Suspended"
        assert scheduled_deadlines(prefect) == [f"deadline of {run['id']}"]
        _, alive = psutil.wait_procs(flow_processes(home), timeout=60)
        assert (alive, workspace.holder()) == ([], None)
        code, said = shell("update", session, *answer)
        assert code == 0, said
    code, said = shell("events", session, "--wait")
    assert code == 0, said
    assert "promoted" in said.splitlines()[-1]
    assert scheduled_deadlines(prefect) == []

    told = Counter(event["text"] for event in workspace.lines("events.jsonl"))
    once = {
        text: n
        for text, n in told.items()
        if n > 1
        and not text.startswith(("going on with", "token counts"))
        and " uploaded as " not in text
        and " training pairs, " not in text
    }
    assert once == {}
    made = httpx.get(f"{local_server.url}/v1/accounts/local/dpoJobs").json()["dpoJobs"]
    assert sorted(job["name"][-2:] for job in made) == ["t1", "t2"]
    assert [line["gate"] for line in workspace.lines("approvals.jsonl")] == ["plan", "comparison"]
    found = prefect.post("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    pages = Counter(a["key"] for a in found if a["type"] != "progress")
    assert set(pages.values()) == {1}, pages
    assert prefect.http.get(f"/flow_runs/{run['id']}").json()["state"]["type"] == "COMPLETED"
    code, said = shell("cancel", session)
    assert code == 4, said


def test_a_suspended_run_that_nobody_answers_ends_with_a_report(prefect_up, create, shell):
    prefect, _ = prefect_up
    workspace = create(gate_timeout_days=20 / 86400)
    assert shell("events", workspace.session, "--wait")[0] == 3
    run = prefect.wait_for(lambda run: run["state"]["type"] == "COMPLETED")
    assert run["state"]["name"] == "TimedOut"
    code, said = shell("events", workspace.session, "--wait")
    assert (code, "timed_out nobody answered the plan gate within" in said.splitlines()[-1]) == (1, True), said
    assert json.loads(shell("get", workspace.session, "--json")[1])["state"] == "cancelled"
    assert "nobody answered the plan gate" in (workspace.folder / "final_report.md").read_text()
    assert workspace.lines("approvals.jsonl") == []
    assert scheduled_deadlines(prefect) == []


def test_suspend_is_refused_where_no_worker_could_take_the_run_up_again(
    pairs_and_judge, prefect_up, local_server, save_block
):
    _, environment = prefect_up
    save_block("scripted", local_server.url)
    request = {**pairs_and_judge, "base_model": "tiny", "platform": "scripted", "wait": "suspend"}
    file = Path(pairs_and_judge["dataset"]).parent / "request.yaml"
    file.write_text(json.dumps(request))
    command = [sys.executable, "-m", "flows.cli", "run", str(file), "--yes"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    home = Path(environment["PREFWORKS_HOME"])
    assert any("needs a run of a deployment" in log.read_text() for log in home.glob("sessions/*/flow.log"))
