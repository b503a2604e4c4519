"""Fourteen trials of unequal length through six slots, by a clock that only the test moves.

Time stands still until as many jobs run as may, so that a slot that is not given on stops the clock and fails the test,
and the makespan is computed, not measured.
"""

from __future__ import annotations

import heapq
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.targets import Stopped
from tests.flows.test_recovery import start

SESSION = "1779157376-41e1"
TRIALS = [f"t{n}" for n in range(1, 15)]
LENGTHS = dict(zip(TRIALS, [7, 3, 12, 5, 9, 4, 8, 2, 11, 6, 3, 10, 5, 7], strict=True))
SLOTS = 6
GRID = {"learning_rates": [n * 1e-5 for n in range(1, 8)], "betas": [0.1, 0.3], "max_context_length": 512}
ENDED = ("COMPLETED", "CANCELLED", "FAILED")
PATIENCE_S = 240  # a bound on a hang, not a measurement

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # fourteen models are measured, too, one after the other


def list_scheduling(lengths: list[int], machines: int) -> int:
    """The makespan where the next job goes to the first machine that is free."""
    free_at = [0] * machines
    for length in lengths:
        heapq.heappush(free_at, heapq.heappop(free_at) + length)
    return max(free_at)


def test_list_scheduling_by_hand():
    assert list_scheduling([3, 2, 2], 2) == 4


class Clock:
    """Moves time to the next job's end once as many run as may, until it is told to hold, or all have ended."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.now = 0
        self.peak = 0
        self.created: dict[str, tuple[str, str]] = {}

    def states(self) -> dict[str, str]:
        """Of each trial's job; no look may ever find more than six active, nor a job that was made anew."""
        jobs = httpx.get(f"{self.url}/v1/accounts/local/dpoJobs", params={"pageSize": 100}).json().get("dpoJobs", [])
        found = {}
        for job in jobs:
            trial = job["name"].rsplit("-", 1)[-1]
            assert job["name"] == f"accounts/local/dpoJobs/pw-{SESSION}-{trial}"
            found[trial] = job["state"].removeprefix("JOB_STATE_")
            identity = (job["createTime"], job["trainingSeed"])
            assert self.created.setdefault(trial, identity) == identity
        active = sum(state not in ENDED for state in found.values())
        assert active <= SLOTS, found
        self.peak = max(self.peak, active)
        return found

    def run(self, until: Callable[[dict[str, str]], bool]) -> None:
        """Until this holds of the states."""
        while True:
            states = self._wait(lambda s: until(s) or self._full(s), "as many to run as may")
            if until(states):
                return
            ends = {t: int((self.folder / f"begun-{t}").read_text()) + LENGTHS[t] for t in self._running(states)}
            self.now = min(ends.values())
            self._write()
            due = [trial for trial, end in ends.items() if end == self.now]
            self._wait(lambda s, due=due: all(s[t] == "COMPLETED" for t in due), f"{due} to end")

    def _full(self, states: dict[str, str]) -> bool:
        n_left = sum(states.get(trial) not in ENDED for trial in TRIALS)
        return len(self._running(states)) == min(SLOTS, n_left)

    def _running(self, states: dict[str, str]) -> list[str]:
        begun = (t for t, state in states.items() if state not in ENDED)
        return [t for t in begun if (self.folder / f"begun-{t}").exists() and (self.folder / f"begun-{t}").read_text()]

    def _wait(self, holds: Callable[[dict[str, str]], bool], what: str) -> dict[str, str]:
        deadline = time.monotonic() + PATIENCE_S
        while not holds(states := self.states()):
            assert time.monotonic() < deadline, f"at {self.now} waited for {what}: {states}"
            time.sleep(0.1)
        return states

    def _write(self) -> None:
        part = self.folder / "now.part"
        part.write_text(str(self.now))
        part.replace(self.folder / "now")


@pytest.fixture
def clock(start_local_server, tmp_path: Path) -> Iterator[Clock]:
    """A platform that runs all jobs that it has, as the cloud would, so that the six are the session's own."""
    folder = tmp_path / "clock"
    folder.mkdir()
    (folder / "now").write_text("0")
    (folder / "lengths.json").write_text(json.dumps(LENGTHS))
    child = Path(__file__).parents[1] / "local_server" / "clockwork_training.py"
    server = start_local_server(training_command=(sys.executable, str(child), str(folder)), jobs_at_once=len(TRIALS))
    return Clock(folder, server.url)


def all_ended(states: dict[str, str]) -> bool:
    return all(states.get(trial) in ENDED for trial in TRIALS)


def test_the_slots_are_never_more_than_six_and_never_idle(clock, make_request, answering):
    parameters = make_request(clock.url, sweep=GRID, session=SESSION)
    ended = []
    with answering({"plan": {"decision": "approve"}, "comparison": {"decision": "stop"}}):
        flow = threading.Thread(target=lambda: ended.append(preference_learning(**parameters, return_state=True)))
        flow.start()
        clock.run(all_ended)
        flow.join(PATIENCE_S)
    assert ended[0].name == "NotPromoted", ended[0].message
    assert clock.peak == SLOTS
    assert set(clock.states().values()) == {"COMPLETED"}
    ideal = list_scheduling(list(LENGTHS.values()), SLOTS)
    assert clock.now <= 1.05 * ideal


def test_at_the_target_all_that_is_in_flight_is_cancelled(clock, make_request, answering, home, many_held_out):
    parameters = make_request(
        clock.url, sweep=GRID, session=SESSION, held_out=many_held_out, target_win_rate=0.7, stop_at_target=True
    )
    ended = []
    with answering({"plan": {"decision": "approve"}, "comparison": {"decision": "stop"}}):
        flow = threading.Thread(target=lambda: ended.append(preference_learning(**parameters, return_state=True)))
        flow.start()
        clock.run(lambda states: "COMPLETED" in states.values())  # then time stands still
        flow.join(PATIENCE_S)
    assert ended[0].name == "NotPromoted", ended[0].message
    states = clock.states()
    assert states.pop("t2") == "COMPLETED"  # the shortest of the first six
    assert set(states.values()) == {"CANCELLED"}
    assert set(states) <= {"t1", "t3", "t4", "t5", "t6", "t7"}  # no seventh, but for the place that t2 left
    stopped = Workspace(SESSION, home).read("stopped.json", Stopped)
    assert stopped is not None
    assert stopped.candidate == "t2"


def test_after_kill_9_in_the_middle_the_same_jobs_go_on_and_there_is_no_seventh(clock, make_request, answering):
    parameters = make_request(clock.url, sweep=GRID, session=SESSION)
    with answering({"plan": {"decision": "approve"}}):
        _, process = start(parameters)
        clock.run(lambda states: list(states.values()).count("COMPLETED") >= 4)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = dict(clock.created)
    with answering({"comparison": {"decision": "stop"}}):
        _, process = start(parameters)
        clock.run(all_ended)
        assert process.wait(PATIENCE_S) == 0
    assert set(clock.states().values()) == {"COMPLETED"}
    assert clock.created.items() >= before.items()
    assert list(clock.created) != list(before)
    assert len(clock.created) == len(TRIALS)
    assert clock.peak == SLOTS
    assert clock.now <= 1.05 * list_scheduling(list(LENGTHS.values()), SLOTS)
