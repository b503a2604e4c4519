"""kill -9 of the worker with its run, of a run alone, and of Prefect's server, in the middle of a sweep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from blocks.workspace import Workspace
from preference.session import session_id
from tasks.verifying import verify
from tests.clockwork import Clock, start_clock
from tests.e2e.browsing import retry
from tests.e2e.conftest import ROOT, wait_until

LENGTHS = {"t1": 3, "t2": 1, "t3": 4, "t4": 2, "t5": 5, "t6": 2, "t7": 1, "t8": 3}
SLOTS = 3
GRID = {"learning_rates": [n * 1e-5 for n in range(1, 5)], "betas": [0.1, 0.3], "max_context_length": 512}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Sweep:
    """A session of eight trials in three slots that a worker does, unattended."""

    def __init__(self, home: Path, clock: Clock, request: dict[str, Any]) -> None:
        self.home, self.clock, self.request = home, clock, request
        self.workspace = Workspace(clock.session, home)

    def process(self, service: str) -> psutil.Process:
        return psutil.Process(json.loads((self.home / "run" / f"{service}.json").read_text())["pid"])

    def run_process(self) -> psutil.Process:
        holder = self.workspace.holder()
        assert holder is not None
        return psutil.Process(holder.pid)

    def kill(self, *processes: psutil.Process) -> None:
        for process in processes:
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=30)

    def kill_worker_and_run(self) -> None:
        """The worker first, so that it cannot tell Prefect of the run."""
        worker = self.process("prefect-worker")
        self.kill(worker, *worker.children(recursive=True))
        assert self.workspace.holder() is None

    def ends_as_if_nothing_had_been(self, before: dict[str, tuple[str, str]]) -> None:
        """before: the jobs that there were. (The clock holds every look to the slots and to the jobs' identities.)"""
        clock, workspace = self.clock, self.workspace
        clock.run(clock.all_ended)
        wait_until((workspace.folder / "final_report.md").is_file)
        record = workspace.read_json("session.json")
        assert (record["state"], record["outcome"]) == ("succeeded", "not_promoted"), record["message"]
        assert set(clock.states().values()) == {"COMPLETED"}
        assert clock.created.items() >= before.items()
        assert set(clock.created) == set(LENGTHS)
        assert clock.peak == SLOTS

        def names(what: str) -> list[str]:
            found = httpx.get(f"{clock.url}/v1/accounts/local/{what}", params={"pageSize": 100}).json().get(what, [])
            return sorted(x["name"].rsplit("/", 1)[-1].removeprefix(f"pw-{clock.session}-") for x in found)

        assert names("dpoJobs") == sorted(LENGTHS)
        assert names("datasets") == ["data", "held-out", "train"]
        assert names("deployments") == []
        comparison = workspace.read_json("comparison.json")
        assert [c["contestant"]["name"] for c in comparison["candidates"]] == sorted(LENGTHS)
        assert {c["win_rate"]["n"] for c in comparison["candidates"]} == {comparison["n_selection"]}
        assert verify(workspace) == []


@pytest.fixture
def sweep(prefect_up, start_local_server, save_block, pairs_and_judge, tmp_path) -> Iterator[Sweep]:
    _, environment = prefect_up
    session = session_id(time.time(), os.urandom(2).hex())
    clock = start_clock(start_local_server, tmp_path / "clock", session, LENGTHS, SLOTS)
    save_block("clockwork", clock.url)
    request = {
        **pairs_and_judge,
        "base_models": ["tiny"],
        "platform": "clockwork",
        "sweep": GRID,
        "max_active_jobs": SLOTS,
        "session": session,
        "auto_approve_up_to_usd": 0,
        "auto_promote": "clear_winner",  # all are as good, so there is none
    }
    yield Sweep(Path(environment["PREFWORKS_HOME"]), clock, request)
    up(environment)


def up(environment: dict[str, str]) -> None:
    """Starts again what was killed, and leaves the rest as it is."""
    subprocess.run([sys.executable, "-m", "flows.cli", "up"], cwd=ROOT, env=environment, check=True)


@pytest.fixture
def begin(prefect_up, sweep) -> Callable[[], dict[str, Any]]:
    """begin(): the sweep's flow run, with some of its jobs ended and three under way."""
    prefect, _ = prefect_up

    def start() -> dict[str, Any]:
        deployment = prefect.deployment("preference-learning")["id"]
        run = prefect.post(f"/deployments/{deployment}/create_flow_run", {"parameters": {"request": sweep.request}})
        sweep.clock.run(lambda states: list(states.values()).count("COMPLETED") >= 2 and len(states) >= 5)
        return run

    return start


def read(prefect, run: dict[str, Any]) -> dict[str, Any]:
    return prefect.http.get(f"/flow_runs/{run['id']}").raise_for_status().json()


def test_after_kill_9_of_worker_and_run_the_session_is_resumed(prefect_up, sweep, begin, shell):
    prefect, environment = prefect_up
    run = begin()
    before = dict(sweep.clock.created)
    sweep.kill_worker_and_run()
    assert read(prefect, run)["state"]["type"] == "RUNNING"  # nobody is left to say that it is not

    up(environment)
    code, said = shell("events", sweep.clock.session, "--wait")
    assert (code, f"prefworks session resume {sweep.clock.session}" in said) == (1, True), said
    code, said = shell("resume", sweep.clock.session, "--json")
    assert code == 0, said
    again = json.loads(said)["flow_run"]
    assert again != run["id"]
    state = read(prefect, run)["state"]
    assert (state["type"], again in state["message"]) == ("CRASHED", True)
    code, said = shell("resume", sweep.clock.session)
    assert code == 4, said  # it is under way, and is not begun twice

    sweep.ends_as_if_nothing_had_been(before)
    wait_until(lambda: read(prefect, {"id": again})["state"]["type"] == "COMPLETED")


def test_a_run_that_was_killed_alone_goes_on_by_retry_in_the_ui(prefect_up, sweep, begin, page):
    prefect, _ = prefect_up
    run = begin()
    before = dict(sweep.clock.created)
    sweep.kill(sweep.run_process())
    wait_until(lambda: read(prefect, run)["state"]["type"] == "CRASHED")
    time.sleep(15)  # as a human takes at least: the worker reports the crash a second time
    retry(page, prefect, run)
    sweep.ends_as_if_nothing_had_been(before)
    wait_until(lambda: read(prefect, run)["state"]["type"] == "COMPLETED")


def test_after_kill_9_of_prefects_server_the_run_goes_on_by_itself(prefect_up, sweep, begin):
    prefect, environment = prefect_up
    run = begin()
    before, process = dict(sweep.clock.created), sweep.run_process()
    sweep.kill(sweep.process("prefect-server"))
    time.sleep(20)
    up(environment)
    assert sweep.run_process() == process
    sweep.ends_as_if_nothing_had_been(before)
    wait_until(lambda: read(prefect, run)["state"]["type"] == "COMPLETED")
