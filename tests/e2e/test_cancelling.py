"""A run that is cancelled, by Prefect's own command or by ours, in each phase that costs: nothing of it is left."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from tasks.holdings import under_way
from tests.e2e.conftest import ROOT, wait_until
from tests.flows.test_pairs import tune_strong

PROMISED_S = 60.0
SLOW = Path(__file__).parents[1] / "local_server" / "slow_generation.py"
PHASES = {  # the word that is never answered, and what is up then
    "training": ("nothing has this word", ["job t1", "job t2"]),
    "sampling": ("Say what a", ["deployment eval"]),
    "judging": ("/tuned", ["deployment eval", "deployment judge"]),
    "pairs": ("Say what a", ["deployment pairs-strong", "deployment pairs-weak"]),
}
CASES = [("training", "prefect"), ("training", "prefworks"), ("sampling", "prefect"), ("judging", "prefworks")]
CASES += [("pairs", "prefworks")]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def make_cancellable(start_local_server, pairs_and_judge, tmp_path):
    """make_cancellable(phase): the address, a request that stays in that phase, and the file that says so."""

    def make(phase: str) -> tuple[str, dict[str, Any], Path]:
        word, _ = PHASES[phase]
        seen = tmp_path / "seen"
        server = start_local_server(generation_command=(sys.executable, str(SLOW), word, str(seen)), jobs_at_once=2)
        request = {
            **pairs_and_judge,
            "base_models": ["tiny"],
            "platform": "cancelled",
            "sweep": {"learning_rates": [1e-4, 3e-4], "betas": [0.1], "max_context_length": 512},
            "sampling": {"max_tokens": 16},
            "auto_approve_up_to_usd": 0,
        }
        data = Path(request["dataset"])
        if phase == "training":
            rows = data.read_text().splitlines()
            data.write_text("\n".join([rows[0].replace("Say what a hammer is for", "!hang", 1), *rows[1:]]) + "\n")
        if phase == "judging":
            request |= {"evaluator": "", "judge": "tiny", "rubric": "The better answer is short."}
        if phase == "pairs":
            request["pairs"] = {"strong": tune_strong(server.url, tmp_path), "weak": "tiny", "max_tokens": 16}
            prompts = [json.loads(row)["input"]["messages"] for row in data.read_text().splitlines()]
            data.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in prompts))
        return server.url, request, seen

    return make


@pytest.mark.parametrize(("phase", "by"), CASES)
def test_a_cancelled_run_leaves_nothing_that_costs(prefect_up, make_cancellable, save_block, phase, by):
    prefect, environment = prefect_up
    url, request, seen = make_cancellable(phase)
    save_block("cancelled", url)
    platform = FireworksPlatform(base_url=url, account="local")
    deployment = prefect.deployment("preference-learning")["id"]
    run = prefect.post(f"/deployments/{deployment}/create_flow_run", {"parameters": {"request": request}})

    def read() -> dict[str, Any]:
        found = prefect.http.get(f"/flow_runs/{run['id']}").raise_for_status().json()
        assert found["state"]["type"] not in ("FAILED", "CRASHED", "PAUSED"), found["state"]
        return found

    wait_until(lambda: read()["state"]["type"] == "RUNNING")
    session = read()["name"].split()[0]

    def costs() -> list[str]:
        with platform.get_client(session) as client:
            return [str(holding).replace(f"pw-{session}-", "") for holding in under_way(client, session)]

    _, expected = PHASES[phase]
    wait_until(lambda: read() and (seen.exists() or phase == "training") and sorted(costs()) == expected)

    begun = time.monotonic()
    served = {**environment, "PREFECT_API_URL": f"{prefect.root}/api"}
    ours = ["flows.cli", "session", "cancel", session]
    command = [sys.executable, "-m", *(["prefect", "flow-run", "cancel", run["id"]] if by == "prefect" else ours)]
    cancelling = subprocess.Popen(command, cwd=ROOT, env=served, stdout=subprocess.PIPE, text=True)
    wait_until(lambda: costs() == [], 4 * PROMISED_S)
    took_s = time.monotonic() - begun
    print(f"{phase}, by {by}: nothing cost any more after {took_s:.0f} s")
    assert took_s < PROMISED_S
    said, _ = cancelling.communicate(timeout=4 * PROMISED_S)
    assert cancelling.returncode == 0, said
    assert by == "prefect" or all(name in said for _, name in map(str.split, expected)), said

    wait_until(lambda: read()["state"]["type"] == "CANCELLED")
    workspace = Workspace(session, Path(environment["PREFWORKS_HOME"]))
    wait_until(lambda: workspace.holder() is None and (workspace.folder / "final_report.md").is_file())
    record = workspace.read_json("session.json")
    assert (record["state"], record["outcome"]) == ("cancelled", "cancelled")
    assert "**Cancelled.**" in (workspace.folder / "final_report.md").read_text()
    assert "may cost" not in record["message"]
    assert costs() == []
