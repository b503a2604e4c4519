"""Jobs that take as long as a clock says that only the test moves.

Time stands still until as many jobs run as may, so that a slot that is not given on stops the clock and fails the test,
and a makespan is computed, not measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from local_server.threaded import ThreadedServer

ENDED = ("COMPLETED", "CANCELLED", "FAILED")
PATIENCE_S = 240  # a bound on a hang, not a measurement


class Clock:
    """Moves time to the next job's end once as many run as may, until it is told to hold, or all have ended.

    lengths: of the session's trials, by name. slots: how many of its jobs may be active.
    """

    def __init__(self, folder: Path, url: str, session: str, lengths: dict[str, int], slots: int) -> None:
        self.folder, self.url = folder, url
        self.session, self.lengths, self.slots = session, lengths, slots
        self.now = 0
        self.peak = 0
        self.created: dict[str, tuple[str, str]] = {}

    def states(self) -> dict[str, str]:
        """Of each trial's job; no look may ever find more active than there are slots, nor a job that was made anew."""
        jobs = httpx.get(f"{self.url}/v1/accounts/local/dpoJobs", params={"pageSize": 100}).json().get("dpoJobs", [])
        found = {}
        for job in jobs:
            trial = job["name"].rsplit("-", 1)[-1]
            assert job["name"] == f"accounts/local/dpoJobs/pw-{self.session}-{trial}"
            found[trial] = job["state"].removeprefix("JOB_STATE_")
            identity = (job["createTime"], job["trainingSeed"])
            assert self.created.setdefault(trial, identity) == identity
        active = sum(state not in ENDED for state in found.values())
        assert active <= self.slots, found
        self.peak = max(self.peak, active)
        return found

    def run(self, until: Callable[[dict[str, str]], bool]) -> None:
        """Until this holds of the states."""
        while True:
            states = self._wait(lambda s: until(s) or self._full(s), "as many to run as may")
            if until(states):
                return
            ends = {t: int((self.folder / f"begun-{t}").read_text()) + self.lengths[t] for t in self._running(states)}
            self.now = min(ends.values())
            self._write()
            due = [trial for trial, end in ends.items() if end == self.now]
            self._wait(lambda s, due=due: all(s[t] == "COMPLETED" for t in due), f"{due} to end")

    def _full(self, states: dict[str, str]) -> bool:
        n_left = sum(states.get(trial) not in ENDED for trial in self.lengths)
        return len(self._running(states)) == min(self.slots, n_left)

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

    def all_ended(self, states: dict[str, str]) -> bool:
        return all(states.get(trial) in ENDED for trial in self.lengths)


def start_clock(
    start_local_server: Callable[..., ThreadedServer], folder: Path, session: str, lengths: dict[str, int], slots: int
) -> Clock:
    """A platform that runs all jobs that it has, as the cloud would, so that the slots are the session's own."""
    folder.mkdir()
    (folder / "now").write_text("0")
    (folder / "lengths.json").write_text(json.dumps(lengths))
    child = Path(__file__).parent / "local_server" / "clockwork_training.py"
    server = start_local_server(training_command=(sys.executable, str(child), str(folder)), jobs_at_once=len(lengths))
    return Clock(folder, server.url, session, lengths, slots)
