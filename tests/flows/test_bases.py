"""Several base models in one run: the one deployment a base, the common opponent, all faults at once."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import httpx
import pytest

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.plan import Plan
from preference.plan_lines import evaluation_starts
from preference.search import Draws
from preference.session import SessionRecord
from tasks.search import DRAWS
from tasks.verifying import verify

SESSION = "1779157376-41e1"
YES = {"plan": {"decision": "approve"}, "comparison": {"decision": "promote", "candidate": "t2"}}


@pytest.fixture
def two_bases(start_local_server, tmp_path: Path, hollow_model: Path):
    """A server that can tune two models: tiny and other."""
    home = tmp_path / "two-bases"
    home.mkdir()
    (home / "models.toml").write_text(f'tiny = "{hollow_model}"\nother = "{hollow_model}"\n')
    return start_local_server(home=home)


def run(parameters: dict):
    return preference_learning(**parameters, return_state=True)


def without_base(parameters: dict) -> dict:
    return {"request": {k: v for k, v in parameters["request"].items() if k != "base_model"}}


def test_where_serving_costs_each_base_has_its_own_deployment_for_one_batch(
    two_bases, make_request, answering, home, price_book
):
    given = make_request(two_bases.url, base_models=["tiny", "other"], session=SESSION, price_book=price_book)
    given = without_base(given)
    with answering(YES) as gates:
        state = run(given)
    assert state.name == "Completed", state.message
    plan_page, comparison_page = (page for _, page in gates.pages)
    assert "2 base models: b1 `accounts/fireworks/models/tiny`, b2 `accounts/fireworks/models/other`" in plan_page
    assert "against its own base, %" in comparison_page
    workspace = Workspace(SESSION, home)
    said = [event["text"] for event in workspace.lines("events.jsonl")]
    assert said.count(f"starting deployment pw-{SESSION}-eval-b1") == 2  # for the selection, and to confirm
    assert said.count(f"starting deployment pw-{SESSION}-eval-b2") == 1
    left = httpx.get(f"{two_bases.url}/v1/accounts/local/deployments").json()["deployments"]
    assert [d["name"].rsplit("-", 1)[-1] for d in left] == ["winner"]
    jobs = httpx.get(f"{two_bases.url}/v1/accounts/local/dpoJobs").json()["dpoJobs"]
    assert {job["name"].rsplit("-", 1)[-1]: job["trainingConfig"]["baseModel"] for job in jobs} == {
        "t1": "accounts/fireworks/models/tiny",
        "t2": "accounts/fireworks/models/other",
    }
    assert verify(workspace) == []


def test_a_search_over_two_bases_gives_each_its_own(two_bases, make_request, answering, home, price_book):
    sweep = {"n_trials": 6, "learning_rates": [1e-4, 1e-3], "max_context_length": 512}
    given = {"base_models": ["tiny", "other"], "strategy": "tpe", "max_active_jobs": 2, "session": SESSION}
    given = without_base(make_request(two_bases.url, **given, sweep=sweep, price_book=price_book))
    with answering(YES) as gates:
        state = run(given)
    assert state.name == "Completed", state.message
    plan_page = gates.pages[0][1]
    assert "The base models take turns, each with a search of its own." in plan_page
    assert "Saving: 6 trainings instead of the 8 of a grid over the same settings (25% fewer)." in plan_page
    workspace = Workspace(SESSION, home)
    draws = workspace.read(DRAWS, Draws)
    assert [[trial.base_label for trial in batch.trials] for batch in draws.batches] == [["tiny", "other"]] * 3
    assert draws.batches[2].known == {f"t{n}": 0.9 for n in range(1, 5)}
    jobs = httpx.get(f"{two_bases.url}/v1/accounts/local/dpoJobs").json()["dpoJobs"]
    assert {job["name"].rsplit("-", 1)[-1]: job["trainingConfig"]["learningRate"] for job in jobs} == {
        trial.name: trial.learning_rate for trial in draws.trials
    }
    plan = workspace.read("plan.json", Plan)
    said = [event["text"] for event in workspace.lines("events.jsonl")]
    starts = sum(line.startswith(f"starting deployment pw-{SESSION}-eval-") for line in said)
    assert starts <= evaluation_starts(plan.request, 6, plan.bases, plan.n_trainings)
    assert verify(workspace) == []


def test_without_base_models_the_catalogue_of_the_price_book_is_swept(
    two_bases, make_request, answering, home, tmp_path
):
    book = tmp_path / "book.toml"
    local = resources.files("preference").joinpath("prices", "local.toml").read_text()
    book.write_text(local + '[model_sweep]\nmodels = ["other", "no-longer-there", "tiny"]\n')
    with answering({"plan": {"decision": "reject"}}) as gates:
        run(without_base(make_request(two_bases.url, session=SESSION, price_book=str(book))))
    assert "since the request names none: a sweep over the catalogue's" in gates.pages[0][1]
    workspace = Workspace(SESSION, home)
    plan = workspace.read("plan.json", Plan)
    assert [trial.base_label for trial in plan.trials] == ["other", "tiny"]
    said = [event["text"] for event in workspace.lines("events.jsonl")]
    assert "of the catalogue's base models, these cannot be tuned here: no-longer-there" in said


def test_base_models_that_are_not_there_are_asked_about_with_the_nearest_also_where_a_policy_answers_the_rest(
    two_bases, make_request, answering, home
):
    """The request's own fields, no text: nothing is dropped, nothing is guessed, and the plan has what was answered."""
    given = make_request(
        two_bases.url, base_models=["gpt-17", "other", "othr"], session=SESSION, auto_approve_up_to_usd=0
    )
    given["request"]["pairs"] = {"strong": "tiny", "weak": "tinyy"}
    asks = [{"base_models": "", "decision": "go on"}, {"base_models": "other, tiny", "pairs_weak": "other"}]
    with answering({"inputs": asks}) as gates:
        state = run(without_base(given))
    assert [gate for gate, _ in gates.pages] == ["inputs", "inputs"]
    page = gates.pages[0][1]
    assert "no model is called 'gpt-17'" in page
    assert "no model is called 'othr'. The nearest: accounts/fireworks/models/other" in page
    assert "Name all that are meant, with other, which can be tuned. (“gpt-17, othr”)" in page
    assert "no model is called 'tinyy'. The nearest: accounts/fireworks/models/tiny" in page
    assert state.is_failed()  # only now, and for another reason: these data need no models to answer them
    assert "pairs.strong, pairs.weak and pairs.judge_filter are for prompts without answers" in state.message
    record = Workspace(SESSION, home).read("session.json", SessionRecord)
    assert record.request.base_models == ["gpt-17", "other", "othr"]  # what was asked stays on record


def test_unattended_a_base_model_that_is_not_there_waits_and_the_time_out_says_so(two_bases, make_request):
    policy = {"auto_approve_up_to_usd": 0, "auto_promote": "clear_winner", "gate_timeout_days": 3 / 86400}
    state = run(without_base(make_request(two_bases.url, base_models=["othr"], **policy)))
    assert state.name == "TimedOut", state.message
    assert "nobody answered the inputs gate" in state.message
