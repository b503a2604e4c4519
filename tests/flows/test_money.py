"""What runs cost, where the local platform has a price: the ledger, the wall, and what the report says of both."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.plan import Plan, trial_line
from preference.plan_lines import FIRST_HOUR, SAMPLING, TRAINING
from preference.session import Outcome, SessionRecord, SessionState
from tasks.spending import ledger
from tests.flows.conftest import WORDS, pair
from tests.flows.test_recovery import start, wait_for

FOUR = {"learning_rates": [1e-4, 3e-4], "betas": [0.1, 0.3], "max_context_length": 512}
SESSION, OTHER = "1779157376-41e1", "1779157377-41e2"
YES = {"plan": {"decision": "approve"}, "comparison": {"decision": "continue"}, "promotion": {"decision": "approve"}}


def run(parameters: dict):
    return preference_learning(**parameters, return_state=True)


def states(url: str) -> dict[str, str]:
    """The state of each job by its trial's name."""
    found = httpx.get(f"{url}/v1/accounts/local/dpoJobs").json()["dpoJobs"]
    return {job["name"].rsplit("-", 1)[-1]: job["state"].removeprefix("JOB_STATE_") for job in found}


def metered_tokens(url: str) -> int:
    """Training tokens that the platform itself has billed, over all jobs."""
    now = datetime.now(UTC)
    days = {"startTime": (now - timedelta(days=1)).isoformat(), "endTime": (now + timedelta(days=1)).isoformat()}
    found = httpx.get(f"{url}/v1/accounts/local/billingUsage", params=days).raise_for_status().json()
    return sum(int(row["trainingTokens"]) for row in found["trainingCosts"])


def plan_of(workspace: Workspace) -> Plan:
    plan = workspace.read("plan.json", Plan)
    assert plan is not None
    return plan


def report_of(home: Path) -> str:
    return Workspace(SESSION, home).path("final_report.md").read_text()


def test_every_cost_is_kept_by_category_and_told_beside_its_estimate(
    local_server, make_request, answering, home, price_book
):
    with answering(YES) as gates:
        state = run(make_request(local_server.url, price_book=price_book, session=SESSION))
    assert state.name == "Completed", state.message
    assert "Nothing has been spent so far." in gates.pages[0][1]
    workspace = Workspace(SESSION, home)
    plan, bought = plan_of(workspace), ledger(workspace)
    assert bought.categories == sorted([TRAINING, SAMPLING, FIRST_HOUR])
    assert list(bought.items) == [f"pw-{SESSION}-{role}" for role in ("eval@1", "t1", "winner")]
    assert bought.spent(TRAINING).usd == trial_line(plan, plan.trials[0]).usd > 0
    assert bought.spent().known
    assert metered_tokens(local_server.url) == pytest.approx(bought.spent(TRAINING).usd * 1000)  # at 0.001 USD a token
    report = report_of(home)
    cost = report.split("## Cost")[1]
    assert f"| Training | {plan.lines[0].usd:.2f} | {plan.lines[0].usd:.2f} | +0.00 |" in cost
    assert f"| **Total** | {sum(line.usd for line in plan.lines):.2f} | {bought.spent().usd:.2f} |" in cost
    assert "goes on costing while it is awake: 36.00 USD an hour" in cost


def test_the_wall_in_the_middle_of_a_sweep_and_a_higher_one(local_server, make_request, answering, home, price_book):
    fields = {"price_book": price_book, "sweep": FOUR, "max_active_jobs": 2}
    order = "!steps=4 pause=0.5"
    with answering({"plan": {"decision": "reject"}}):
        run(make_request(local_server.url, order, **fields, session=OTHER))
    asked = plan_of(Workspace(OTHER, home))
    one_usd = trial_line(asked, asked.trials[0]).usd_high
    assert one_usd is not None

    # two fit side by side; when the first has ended at its expected price, a third one does not
    budget = 2.5 * one_usd
    with answering(YES) as gates:
        state = run(make_request(local_server.url, order, **fields, session=SESSION, budget_usd=budget))
    assert (state.name, state.type) == ("OutOfBudget", "COMPLETED"), state.message
    assert f"and budget_usd is {budget:.2f}" in gates.pages[0][1]
    assert [gate for gate, _ in gates.pages] == ["plan"]
    assert sorted(states(local_server.url).values()) == ["CANCELLED", "COMPLETED"]  # and two were not started
    [cut] = [name for name, state in states(local_server.url).items() if state == "CANCELLED"]
    [first] = states(local_server.url).keys() - {cut}
    workspace = Workspace(SESSION, home)
    record = workspace.read("session.json", SessionRecord)
    assert record is not None
    assert (record.state, record.outcome) == (SessionState.FAILED, Outcome.OUT_OF_BUDGET)
    spent = ledger(workspace).spent()
    assert (spent.usd, spent.open) == (pytest.approx(one_usd / 1.3), [f"pw-{SESSION}-{cut}"])
    assert spent.at_most_usd is not None
    assert spent.at_most_usd <= budget
    report = report_of(home)
    assert f"**Out of budget.** pw-{SESSION}-t" in report
    assert f" (training) may cost up to {one_usd:.2f} USD more" in report
    assert f"Training: not known: pw-{SESSION}-{cut}; {spent.usd:.2f} USD of it are known" in report

    promote = {"plan": {"decision": "approve"}, "comparison": {"decision": "promote", "candidate": first}}
    with answering(promote) as gates:
        state = run(make_request(local_server.url, order, **fields, session=SESSION, budget_usd=1000.0))
    assert state.name == "Completed", state.message
    assert f"{spent.usd:.2f} USD spent so far, and not known: pw-{SESSION}-{cut}" in gates.pages[0][1]
    assert set(states(local_server.url).values()) == {"COMPLETED"}
    assert ledger(workspace).spent(TRAINING).usd == pytest.approx(4 * one_usd / 1.3)


def test_a_budget_of_nothing_allows_what_is_free(local_server, make_request, answering, home):
    with answering(YES):
        state = run(make_request(local_server.url, session=SESSION, budget_usd=0))
    assert state.name == "Completed", state.message
    assert ledger(Workspace(SESSION, home)).spent().usd == 0


@pytest.mark.slow
def test_after_kill_9_nothing_is_counted_twice_and_the_plan_is_not_asked_again(
    local_server, make_request, answering, home, price_book
):
    workspace = Workspace(SESSION, home)
    order = "!steps=8 pause=0.2"
    parameters = make_request(local_server.url, order, price_book=price_book, sweep=FOUR, session=SESSION)
    with answering({"plan": {"decision": "approve"}}):
        _, process = start(parameters)
        wait_for(lambda: ledger(workspace).spent(TRAINING).usd > 0, "the first job's bill")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with answering({"comparison": {"decision": "promote", "candidate": "t1"}}) as gates:
        _, process = start(parameters)
        assert process.wait(180) == 0
    assert [gate for gate, _ in gates.pages] == ["comparison"]
    plan = plan_of(workspace)
    assert ledger(workspace).spent(TRAINING).usd == pytest.approx(plan.lines[0].usd)
    assert ledger(workspace).spent().known


TWO = {"learning_rates": [1e-4, 3e-4], "betas": [0.1], "max_context_length": 512}  # the scripted two score alike


def answers_of(home: Path) -> list[tuple[str, str, str]]:
    """Gate, decision and policy of each record."""
    records = Workspace(SESSION, home).lines("approvals.jsonl")
    return [(r["gate"], r["answer"]["decision"], r["policy"].split(" ")[0]) for r in records]


def test_an_unattended_run_below_its_limit_goes_through(local_server, make_request, home, price_book):
    unattended = {"auto_approve_up_to_usd": 100, "auto_promote": "clear_winner"}
    state = run(make_request(local_server.url, price_book=price_book, session=SESSION, **unattended))
    assert state.name == "Completed", state.message
    assert answers_of(home) == [
        ("plan", "approve", "auto_approve_up_to_usd"),
        ("comparison", "continue", "auto_promote"),
        ("promotion", "approve", "auto_promote"),
    ]
    report = report_of(home)
    assert "plan gate: approve by policy: auto_approve_up_to_usd 100.00, which" in report
    assert "promotion gate: approve by policy: auto_promote clear_winner" in report
    assert "at 36.00 – 36.00 – 36.00 USD" in report


def test_unattended_without_a_clear_winner_nothing_is_deployed(local_server, make_request, home):
    unattended = {"auto_approve_up_to_usd": 0, "auto_promote": "clear_winner", "sweep": TWO}
    state = run(make_request(local_server.url, session=SESSION, **unattended))
    assert (state.name, state.type) == ("NotPromoted", "COMPLETED"), state.message
    assert [gate for gate, *_ in answers_of(home)] == ["plan", "comparison"]
    assert "t1 is not clearly better than t2" in report_of(home)


@pytest.mark.parametrize("unknown", [False, True])
def test_above_the_limit_or_with_an_unknown_price_it_waits(
    local_server, make_request, answering, home, price_book, unknown
):
    if unknown:
        book = Path(price_book)
        book.write_text(book.read_text().replace('"*" = 36.0', "OTHER = 36.0"))
    fields = {"auto_approve_up_to_usd": 1e6 if unknown else 40, "auto_promote": "clear_winner"}
    with answering({"plan": {"decision": "reject"}}) as gates:
        state = run(make_request(local_server.url, price_book=price_book, session=SESSION, **fields))
    assert state.name == "Rejected"
    assert [gate for gate, _ in gates.pages] == ["plan"]
    told = [e["text"] for e in Workspace(SESSION, home).lines("events.jsonl") if e["phase"] == "plan"]
    why = "the plan has an unknown price" if unknown else "auto_approve_up_to_usd is 40.00, and the plan may cost up to"
    assert why in told[0]
    assert ledger(Workspace(SESSION, home)).items == {}


def test_a_promotion_shows_its_price_and_may_be_rejected(local_server, make_request, answering, home, price_book):
    with answering({**YES, "promotion": {"decision": "reject", "name": "Ada"}}) as gates:
        state = run(make_request(local_server.url, price_book=price_book, session=SESSION))
    assert (state.name, state.type) == ("NotPromoted", "COMPLETED"), state.message
    pages = dict(gates.pages)
    assert "*Continue* asks whether to deploy t1" in pages["comparison"]
    assert "# Deploy t1?" in pages["promotion"]
    assert "costs 36.00 USD in its first hour" in pages["promotion"]
    assert f"{ledger(Workspace(SESSION, home)).spent().usd:.2f} USD spent so far." in pages["promotion"]
    assert "t1 was not deployed, as told at the promotion gate" in report_of(home)
    assert "promotion gate: reject by Ada" in report_of(home)


def test_continue_without_a_clear_winner_deploys_nothing_and_the_gate_said_so(
    local_server, make_request, answering, home
):
    with answering(YES) as gates:
        state = run(make_request(local_server.url, session=SESSION, sweep=TWO))
    assert state.name == "NotPromoted", state.message
    assert [gate for gate, _ in gates.pages] == ["plan", "comparison"]
    assert "*Continue* deploys nothing, since there is no clear winner" in gates.pages[1][1]


def test_the_next_plan_says_how_far_off_the_last_one_was(local_server, make_request, answering, home, price_book):
    unattended = {"auto_approve_up_to_usd": 100, "auto_promote": "clear_winner", "price_book": price_book}
    run(make_request(local_server.url, session=OTHER, **unattended))
    with answering({"plan": {"decision": "reject"}}) as gates:
        run(make_request(local_server.url, session=SESSION, price_book=price_book))
    assert "Past sessions here, in the median: Training cost 1 × its estimate (1 session)" in gates.pages[0][1]


def test_an_evaluation_that_takes_longer_than_the_budget_allows_is_taken_down(
    local_server, make_request, answering, home, price_book, tmp_path, monkeypatch
):
    monkeypatch.setattr("preference.plan_lines.SCALE_DOWN_S", 0.0)
    monkeypatch.setattr("tasks.watching.WATCH_S", 0.5)
    slow = tmp_path / "slow.jsonl"
    slow.write_text("".join(json.dumps(pair(f"!slow=15 {n} {word}")) + "\n" for n, word in enumerate(WORDS[20:])))
    fields = {"price_book": price_book, "held_out": str(slow)}
    with answering({"plan": {"decision": "reject"}}):
        run(make_request(local_server.url, **fields, session=OTHER))
    high = sum(line.usd_high for line in plan_of(Workspace(OTHER, home)).lines if line.what in (TRAINING, SAMPLING))
    with answering(YES) as gates:
        state = run(make_request(local_server.url, **fields, session=SESSION, budget_usd=high))
    assert (state.name, state.type) == ("OutOfBudget", "COMPLETED"), state.message
    assert [gate for gate, _ in gates.pages] == ["plan"]
    assert f"**Out of budget.** pw-{SESSION}-eval@1 (held-out sampling) may cost up to" in report_of(home)
    assert not httpx.get(f"{local_server.url}/v1/accounts/local/deployments").json()["deployments"]
    spent = ledger(Workspace(SESSION, home)).spent()
    assert spent.known
    assert spent.usd < high + 0.05  # a few seconds to take it down
