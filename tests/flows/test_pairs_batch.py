"""Pairs from prompts by batch inference: no deployment, the same pairs, and nothing bought again after kill -9."""

from __future__ import annotations

import signal
import time
from contextlib import closing

import pytest

from blocks.client import FireworksClient
from blocks.journal import Journal
from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from tasks import pair_batch
from tests.flows.test_pairs import APPROVE, SESSION, names, prompts_request, start, the_session


def jobs_of(url: str, session: str) -> list[str]:
    with FireworksClient(url, account="local") as client:
        return [name for name in names(client.list_batch_inference_jobs()) if session in name]


def test_in_batch_both_models_answer_without_a_deployment(
    local_server, make_request, answering, home, tmp_path, monkeypatch
):
    monkeypatch.setattr(pair_batch, "REQUESTS_A_JOB", 16)
    monkeypatch.setattr(pair_batch, "POLL_S", 0.2)
    prompts = [f"Say what number {n} is for {'x' * n}" for n in range(24)] + ["!refuse=INVALID_ARGUMENT"]
    asked = {"pairs": {"batch": True, "first_prompts": 6}}
    parameters = prompts_request(make_request, local_server.url, tmp_path, prompts, **asked)
    with answering({**APPROVE, "comparison": {"decision": "stop"}}) as gates:
        state = preference_learning(**parameters, return_state=True)
    assert state.is_completed(), state.message
    assert [gate for gate, _ in gates.pages] == ["plan", "comparison"]
    assert "in batch, 25 prompts, at most 400 tokens" in gates.pages[0][1]
    workspace = the_session(home)
    # the first 6 prompts by a job for each model, the other 19 by two
    assert len(jobs_of(local_server.url, workspace.session)) == 6
    made = workspace.read_json("pairs/pairs.json")
    assert (made["n_valid"], made["drops"]) == (24, {"content refused (strong)": 1})
    assert (made["strong"]["n_answers"], made["weak"]["n_answers"]) == (24, 24)
    assert not [
        e for e in workspace.lines("events.jsonl") if "starting deployment" in e["text"] and e["phase"] == "pairs"
    ]
    with closing(Journal(workspace.path("journal.db"))) as journal:
        assert journal.n_possibly_billed_twice() == 0
    bought = {e["resource"] for e in workspace.lines("ledger.jsonl") if e["category"].startswith("Pair generation")}
    assert bought == {f"pw-{workspace.session}-pairs-b000{n}" for n in range(1, 7)}


@pytest.mark.slow
def test_after_kill_9_while_a_batch_job_runs_its_answers_are_taken_and_none_is_bought_again(
    local_server, make_request, answering, home, tmp_path
):
    prompts = [f"!slow=0.5 Say what number {n} is for {'x' * n}" for n in range(20)]
    asked = {"pairs": {"batch": True, "first_prompts": 20}}
    parameters = prompts_request(make_request, local_server.url, tmp_path, prompts, session=SESSION, **asked)
    with answering({"plan": {"decision": "approve"}}):
        process = start(parameters)
        try:
            deadline = time.monotonic() + 600
            while not jobs_of(local_server.url, SESSION):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    with answering({**APPROVE, "comparison": {"decision": "stop"}}) as gates:
        assert start(parameters).wait(900) == 0
    assert [gate for gate, _ in gates.pages] == ["comparison"]
    workspace = Workspace(SESSION, home)
    assert jobs_of(local_server.url, SESSION) == [f"pw-{SESSION}-pairs-b0001", f"pw-{SESSION}-pairs-b0002"]
    assert workspace.read_json("pairs/pairs.json")["n_valid"] == 20
    with closing(Journal(workspace.path("journal.db"))) as journal:
        assert journal.n_possibly_billed_twice() == 0  # the job's answers were billed once, and taken
