"""Targets: a sweep that stops once one is known to be reached, and what the report says of it."""

from __future__ import annotations

import httpx

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.targets import Stopped
from tasks.training import NOT_STARTED, TrainedTrial
from tasks.verifying import verify

SESSION = "1779157376-41e1"
FOUR = {"learning_rates": [1e-4, 3e-4], "betas": [0.1, 0.3], "max_context_length": 512}
YES = {"plan": {"decision": "approve"}, "comparison": {"decision": "promote", "candidate": "t1"}}


def states(url: str) -> dict[str, str]:
    found = httpx.get(f"{url}/v1/accounts/local/dpoJobs").json()["dpoJobs"]
    return {job["name"].rsplit("-", 1)[-1]: job["state"].removeprefix("JOB_STATE_") for job in found}


def test_at_the_target_what_runs_is_cancelled_and_what_waits_is_not_started(
    local_server, make_request, answering, home, many_held_out
):
    parameters = make_request(
        local_server.url,
        "!steps=2 pause=8",
        held_out=many_held_out,
        sweep=FOUR,
        session=SESSION,
        max_active_jobs=1,
        target_win_rate=0.7,
        stop_at_target=True,
    )
    with answering(YES) as gates:
        state = preference_learning(**parameters, return_state=True)
    assert state.name == "Completed", state.message
    workspace = Workspace(SESSION, home)
    stopped = workspace.read("stopped.json", Stopped)
    assert stopped is not None
    first_known = stopped.candidate
    found = states(local_server.url)
    assert found["t1"] == found[first_known] == "COMPLETED"
    assert set(found.values()) <= {"COMPLETED", "CANCELLED"}  # which ran just then is told by a clock elsewhere
    assert "t4" not in found
    last = workspace.read("trials/t4/result.json", TrainedTrial)
    assert last is not None
    assert last.job_state == NOT_STARTED
    assert f"stopped early: {first_known} is known to reach the target (a win rate of 70 %)" in last.message
    assert "Target: win rate 70 %, decided on the confirmation half; the sweep stops" in gates.pages[0][1]
    assert "**Target (a win rate of 70 %): met.**" in gates.pages[1][1]
    report = workspace.path("final_report.md").read_text()
    first = report.split("## Comparison")[0]
    assert "**Target (a win rate of 70 %): met.**" in first
    assert f"**The sweep was stopped early:** {first_known} is known to reach the target" in first
    assert "not started: stopped early" in report
    assert verify(workspace) == []


def test_a_target_that_is_reached_without_stopping_trains_all(local_server, make_request, answering, home):
    with answering(YES):
        preference_learning(
            **make_request(local_server.url, sweep=FOUR, session=SESSION, target_score=0.95), return_state=True
        )
    assert set(states(local_server.url).values()) == {"COMPLETED"}
    workspace = Workspace(SESSION, home)
    assert workspace.read("stopped.json", Stopped) is None
    assert "**Target (a score of 0.95): not" in workspace.path("final_report.md").read_text()


def test_a_session_that_was_stopped_before_it_died_starts_nothing_again(local_server, make_request, answering, home):
    """The note is there, and the job that it was to cancel still runs."""
    fields = {"sweep": FOUR, "session": SESSION, "target_score": 0.5, "stop_at_target": True, "max_active_jobs": 1}
    parameters = make_request(local_server.url, "!hang", **fields)
    workspace = Workspace(SESSION, home)
    workspace.write("stopped.json", Stopped(candidate="t9", reason="t9 is known to reach the target"))
    with answering(YES):
        state = preference_learning(**parameters, return_state=True)
    assert state.is_failed()
    assert "none of the 4 trials has a model" in state.message
    assert "t4: t9 is known to reach the target" in state.message
    assert states(local_server.url) == {}
