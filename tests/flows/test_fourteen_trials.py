"""Fourteen trials of unequal length through six slots, by a clock that only the test moves."""

from __future__ import annotations

import heapq
import signal
import threading
from pathlib import Path

import pytest

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.targets import Stopped
from tests.clockwork import PATIENCE_S, Clock, start_clock
from tests.flows.test_recovery import start

SESSION = "1779157376-41e1"
TRIALS = [f"t{n}" for n in range(1, 15)]
LENGTHS = dict(zip(TRIALS, [7, 3, 12, 5, 9, 4, 8, 2, 11, 6, 3, 10, 5, 7], strict=True))
SLOTS = 6
GRID = {"learning_rates": [n * 1e-5 for n in range(1, 8)], "betas": [0.1, 0.3], "max_context_length": 512}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # fourteen models are measured, too, one after the other


def list_scheduling(lengths: list[int], machines: int) -> int:
    """The makespan where the next job goes to the first machine that is free."""
    free_at = [0] * machines
    for length in lengths:
        heapq.heappush(free_at, heapq.heappop(free_at) + length)
    return max(free_at)


def test_list_scheduling_by_hand():
    assert list_scheduling([3, 2, 2], 2) == 4


@pytest.fixture
def clock(start_local_server, tmp_path: Path) -> Clock:
    return start_clock(start_local_server, tmp_path / "clock", SESSION, LENGTHS, SLOTS)


def test_the_slots_are_never_more_than_six_and_never_idle(clock, make_request, answering):
    parameters = make_request(clock.url, sweep=GRID, session=SESSION)
    ended = []
    with answering({"plan": {"decision": "approve"}, "comparison": {"decision": "stop"}}):
        flow = threading.Thread(target=lambda: ended.append(preference_learning(**parameters, return_state=True)))
        flow.start()
        clock.run(clock.all_ended)
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
        clock.run(clock.all_ended)
        assert process.wait(PATIENCE_S) == 0
    assert set(clock.states().values()) == {"COMPLETED"}
    assert clock.created.items() >= before.items()
    assert list(clock.created) != list(before)
    assert len(clock.created) == len(TRIALS)
    assert clock.peak == SLOTS
    assert clock.now <= 1.05 * list_scheduling(list(LENGTHS.values()), SLOTS)
