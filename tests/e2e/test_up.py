"""`make up`, `make down` and `prefect deploy --all`, as a user runs them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = [sys.executable, "-m", "flows.cli"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def at_a_terminal(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run it where Prefect thinks that somebody could answer, and nobody does."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    said = b""
    try:
        while chunk := os.read(master, 4096):
            said += chunk
            if b"[y/n]" in said:
                process.kill()
                break
    except OSError:  # the terminal's other end is closed
        pass
    os.close(master)
    return process.wait(120), said.decode(errors="replace")


def test_deploy_all_asks_nothing_and_up_keeps_what_the_user_set(prefect_up):
    prefect, environment = prefect_up
    served = {**environment, "PREFECT_API_URL": f"{prefect.root}/api", "PWD": str(ROOT)}
    code, said = at_a_terminal([sys.executable, "-m", "prefect", "deploy", "--all"], served)
    assert (code, "[y/n]" in said) == (0, False), said

    weekly = prefect.deployment("preference-learning-weekly")
    [schedule] = weekly["schedules"]
    assert (schedule["active"], schedule["parameters"]["request"]["auto_approve_up_to_usd"]) == (False, 5)
    mine = {"active": True, "parameters": {"request": {**schedule["parameters"]["request"], "max_active_jobs": 2}}}
    path = f"/deployments/{weekly['id']}/schedules/{schedule['id']}"
    prefect.http.patch(path, json=mine).raise_for_status()
    block = prefect.http.get("/block_types/slug/fireworks-platform/block_documents/name/local").json()
    priced = {"data": {**block["data"], "price_book": "fireworks"}, "merge_existing_data": True}
    prefect.http.patch(f"/block_documents/{block['id']}", json=priced).raise_for_status()

    again = subprocess.run([*OURS, "up"], cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert again.stdout.count("already running") == 3
    [schedule] = prefect.deployment("preference-learning-weekly")["schedules"]
    assert (schedule["active"], schedule["parameters"]) == (True, mine["parameters"])
    assert prefect.deployment("preference-learning")["schedules"] == []
    block = prefect.http.get("/block_types/slug/fireworks-platform/block_documents/name/local").json()
    assert block["data"]["price_book"] == "fireworks"
    assert prefect.http.get("/block_types/slug/judge-endpoint").is_success


def test_the_kubernetes_file_deploys_on_a_kubernetes_pool(prefect_up):
    prefect, environment = prefect_up
    prefect.post("/work_pools/", {"name": "prefworks-kubernetes", "type": "kubernetes"})
    served = {**environment, "PREFECT_API_URL": f"{prefect.root}/api", "PREFWORKS_IMAGE": "registry/prefworks:1"}
    command = [sys.executable, "-m", "prefect", "deploy", "--all", "--prefect-file", "prefect.kubernetes.yaml"]
    code, said = at_a_terminal(command, served)
    assert (code, "[y/n]" in said) == (0, False), said
    made = prefect.deployment("preference-learning-kubernetes")
    assert made["job_variables"]["image"] == "registry/prefworks:1"
    assert made["work_pool_name"] == "prefworks-kubernetes"


def test_down_stops_what_up_started_and_may_be_run_twice(prefect_up):
    _, environment = prefect_up
    for said in ("Stopped: prefect-worker, prefect-server, local-server", "Nothing was running."):
        done = subprocess.run([*OURS, "down"], cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == said
    subprocess.run([*OURS, "up"], cwd=ROOT, env=environment, check=True)
