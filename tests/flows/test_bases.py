"""Several base models in one run: the one deployment a base, the common opponent, all faults at once."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import httpx
import pytest

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.plan import Plan
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


def test_all_base_models_that_cannot_be_tuned_are_told_at_once(two_bases, make_request, home):
    names = ["gpt-17", "other", "othr"]
    state = run(without_base(make_request(two_bases.url, base_models=names)))
    assert state.is_failed()
    assert "no model is called 'gpt-17'" in state.message
    assert "no model is called 'othr'. The nearest: accounts/fireworks/models/other" in state.message
