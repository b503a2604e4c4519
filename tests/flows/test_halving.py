"""Successive halving: rungs on a part of the pairs, and only the best on all of them."""

from __future__ import annotations

import httpx

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.standings import Comparison
from tasks.training import NOT_STARTED, TrainedTrial
from tasks.verifying import verify
from tests.flows.conftest import WORDS, pair, write_rows

SESSION = "1779157376-41e1"
FOUR = {"learning_rates": [1e-4, 3e-4], "betas": [0.1, 0.3], "max_context_length": 512}
YES = {"plan": {"decision": "approve"}, "comparison": {"decision": "stop"}}


def test_the_better_half_goes_on_to_more_pairs_and_the_rest_is_told_why_not(
    local_server, make_request, answering, home, tmp_path, price_book
):
    prompts = [f"Tell the {a} about the {b}" for a, b in zip(WORDS, WORDS[3:] + WORDS[:3], strict=True)]
    train = write_rows(tmp_path / "many-pairs.jsonl", [pair(p) for p in prompts])
    parameters = make_request(
        local_server.url, dataset=str(train), sweep=FOUR, session=SESSION, strategy="halving", price_book=price_book
    )
    with answering(YES) as gates:
        state = preference_learning(**parameters, return_state=True)
    assert state.name == "NotPromoted", state.message
    assert "Successive halving: 4 trials on 25% of the pairs" in gates.pages[0][1]
    found = httpx.get(f"{local_server.url}/v1/accounts/local/dpoJobs", params={"pageSize": 50}).json()["dpoJobs"]
    jobs = {job["name"].removeprefix(f"accounts/local/dpoJobs/pw-{SESSION}-"): job["dataset"] for job in found}
    assert {name: data.removeprefix(f"accounts/local/datasets/pw-{SESSION}-") for name, data in jobs.items()} == {
        **{f"t{n}-r1": "train-r1" for n in (1, 2, 3, 4)},
        **{f"t{n}-r2": "train-r2" for n in (1, 2)},  # all score alike: by name
        "t1": "train",
    }
    workspace = Workspace(SESSION, home)
    rows = {n: len(workspace.path(f"dataset/rung-{n}.jsonl").read_text().splitlines()) for n in (1, 2)}
    n_train = len(workspace.path("dataset/train.jsonl").read_text().splitlines())
    assert rows == {1: -(-n_train // 4), 2: -(-n_train // 2)}
    comparison = workspace.read("comparison.json", Comparison)
    assert [s.contestant.name for s in comparison.candidates] == ["t1"]
    last = workspace.read("trials/t4/result.json", TrainedTrial)
    assert last.job_state == NOT_STARTED
    assert last.message == "left out after 25% of the pairs: place 4 of 4 on the selection prompts"
    assert last.message in workspace.path("final_report.md").read_text()
    said = [event["text"] for event in workspace.lines("events.jsonl")]
    assert said.count(f"starting deployment pw-{SESSION}-eval") == 3  # none is up while a rung trains
    assert verify(workspace) == []
