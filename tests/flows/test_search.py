"""Strategy tpe: trials drawn in batches, each from what those before it came to, also across a kill."""

from __future__ import annotations

import signal

import httpx
import pytest

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.plan import Plan
from preference.search import Draws
from preference.standings import Comparison
from tasks.search import DRAWS
from tasks.verifying import verify
from tests.flows.test_recovery import jobs, start, wait_for

SESSION = "1779157376-41e1"
FOUR = {"n_trials": 4, "learning_rates": [1e-4, 1e-3], "epochs": [1, 2], "max_context_length": 512}
YES = {"plan": {"decision": "approve"}, "comparison": {"decision": "promote", "candidate": "t3"}}
TPE = {"strategy": "tpe", "sweep": FOUR, "session": SESSION, "max_active_jobs": 2}


def draws(home) -> Draws:
    return Workspace(SESSION, home).read(DRAWS, Draws) or Draws()


def test_trials_are_drawn_in_batches_from_the_scores_and_the_report_can_be_checked(
    local_server, make_request, answering, home, price_book
):
    parameters = make_request(local_server.url, **TPE, price_book=price_book)
    with answering(YES) as gates:
        state = preference_learning(**parameters, return_state=True)
    assert state.name == "Completed", state.message
    assert "4 trials in 2 batches of at most 2" in gates.pages[0][1]
    workspace = Workspace(SESSION, home)
    first, second = draws(home).batches
    assert (first.known, second.known) == ({}, {"t1": 0.9, "t2": 0.9})
    found = httpx.get(f"{local_server.url}/v1/accounts/local/dpoJobs").json()["dpoJobs"]
    trained = {
        job["name"].rsplit("-", 1)[-1]: (job["trainingConfig"]["learningRate"], job["trainingConfig"]["epochs"])
        for job in found
    }
    assert trained == {t.name: (t.learning_rate, t.epochs) for t in draws(home).trials}
    said = [event["text"] for event in workspace.lines("events.jsonl")]
    assert said.count(f"starting deployment pw-{SESSION}-eval") == 2  # one a batch: none idles while the next trains
    comparison = workspace.read("comparison.json", Comparison)
    assert {s.contestant.label for s in comparison.candidates} == {t.label for t in draws(home).trials}
    report = workspace.path("final_report.md").read_text()
    assert "Drawn by TPE: t1, t2 at random; t3, t4 from 2 before, of which t1 was best (0.90)." in report
    plan = workspace.read("plan.json", Plan)
    assert plan.lines[0].usd > sum(0.001 * 2 * t.epochs for t in draws(home).trials)  # priced as the dearest
    assert verify(workspace) == []

    changed = draws(home)
    changed.batches[1].trials[0].learning_rate = 2e-4
    changed.batches[1].known["t1"] = 0.5
    workspace.write(DRAWS, changed)
    told = verify(workspace)
    assert f"{DRAWS}: batch 2 was told 0.5 of t1; computed again it is 0.9" in told
    assert f"{DRAWS}: batch 2 is not what is drawn from what it was told" in told


def test_at_the_target_no_further_batch_is_drawn(local_server, make_request, answering, home, many_held_out):
    parameters = make_request(local_server.url, **TPE, held_out=many_held_out, target_win_rate=0.7, stop_at_target=True)
    with answering({**YES, "comparison": {"decision": "stop"}}):
        preference_learning(**parameters, return_state=True)
    assert len(draws(home).batches) == 1
    report = Workspace(SESSION, home).path("final_report.md").read_text()
    assert "not started: not drawn: stopped early: " in report
    assert set(jobs(local_server.url)) <= {f"pw-{SESSION}-t1", f"pw-{SESSION}-t2"}
    assert verify(Workspace(SESSION, home)) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_kill_9_in_the_second_batch_the_same_trials_go_on(local_server, make_request, answering, home):
    parameters = make_request(local_server.url, "!steps=10 pause=0.2", **TPE)
    with answering({"plan": {"decision": "approve"}}):
        _, process = start(parameters)
        wait_for(lambda: len(jobs(local_server.url)) == 4, "the second batch", 300)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before, drawn = jobs(local_server.url), draws(home)
    with answering({"comparison": {"decision": "stop"}}):
        _, process = start(parameters)
        assert process.wait(300) == 0
    assert draws(home) == drawn
    assert {name: job["createTime"] for name, job in jobs(local_server.url).items()} == {
        name: job["createTime"] for name, job in before.items()
    }
    assert verify(Workspace(SESSION, home)) == []
