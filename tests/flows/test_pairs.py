"""Prompts without answers: pairs are made of them, trained on, and measured. Scripted answers, real servers."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from blocks.client import FireworksClient
from blocks.journal import Journal
from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from flows.strong_model import find_strong, strong_of
from preference.report_facts import EndpointFacts
from preference.session import Outcome, SessionRecord
from preference.trials import Trial
from preference.wire import SUCCEEDED_JOB_STATES
from tasks.verifying import verify

ROOT = Path(__file__).resolve().parents[2]
SESSION = "1779157376-41e1"
APPROVE = {
    "plan": {"decision": "approve"},
    "comparison": {"decision": "continue"},
    "promotion": {"decision": "approve"},
}
TEACHER = "1700000000-0000"  # the session that tuned the strong model


def tune_strong(url: str, folder: Path) -> str:
    """A tuned model on the server: its scripted answers end in /tuned."""
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"Say {n}"}]},
            "preferred_output": [{"role": "assistant", "content": "Good."}],
            "non_preferred_output": [{"role": "assistant", "content": "Bad."}],
        }
        for n in range(3)
    ]
    file = folder / "teacher.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with FireworksClient(url, account="local", session=TEACHER) as client:
        data = client.ensure_dataset(f"pw-{TEACHER}-train", file, example_count=3)
        trial = Trial(
            name="t1",
            method="DPO",
            learning_rate=1e-4,
            beta=0.1,
            orpo_lambda=None,
            lora_rank=8,
            epochs=1,
            batch_size=4,
            max_context_length=512,
            base_model="accounts/fireworks/models/tiny",
            job_id=f"pw-{TEACHER}-t1",
        )
        client.ensure_dpo_job(trial.job_id, trial.job_spec(data.name))
        while client.get_dpo_job(trial.job_id).state not in SUCCEEDED_JOB_STATES:
            pass
        return f"accounts/local/models/{trial.job_id}"


def prompts_request(make_request, url: str, tmp_path: Path, prompts: list[str] | None = None, **fields) -> dict:
    """make_request, with a dataset of prompts alone; the held-out prompts stay the same."""
    pairs = {"strong": tune_strong(url, tmp_path), "weak": "tiny", "max_tokens": 16, **fields.pop("pairs", {})}
    parameters = make_request(url, pairs=pairs, **fields)
    data = Path(parameters["request"]["dataset"])
    asked = prompts or [json.loads(line)["input"]["messages"][0]["content"] for line in data.read_text().splitlines()]
    rows = [{"messages": [{"role": "user", "content": prompt}]} for prompt in asked]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return parameters


def the_session(home: Path) -> Workspace:
    [folder] = (home / "sessions").iterdir()
    return Workspace(folder.name, home)


def names(found) -> list[str]:
    return sorted(each.name.rsplit("/", 1)[-1] for each in found)


def test_prompts_become_pairs_and_these_are_trained_on(local_server, make_request, answering, home, tmp_path):
    parameters = prompts_request(make_request, local_server.url, tmp_path)
    with answering(APPROVE) as gates:
        state = preference_learning(**parameters, return_state=True)
    assert state.is_completed(), state.message
    workspace = the_session(home)
    record = workspace.read("session.json", SessionRecord)
    assert record is not None
    assert record.outcome is Outcome.PROMOTED
    page = gates.pages[0][1]
    assert "Pairs are made from 20 training prompts, never from held-out ones" in page
    assert "Pair generation, strong model" in page
    # they separate, so nobody is asked about the pairs
    assert [gate for gate, _ in gates.pages] == ["plan", "comparison", "promotion"]

    pairs = workspace.lines("pairs/pairs.jsonl")
    assert len(pairs) == 20
    for pair in pairs:
        assert pair["preferred_output"][0]["content"].endswith("/tuned")
        assert pair["non_preferred_output"][0]["content"].endswith("/base")
    held_out = {row["input"]["messages"][0]["content"] for row in workspace.lines("dataset/held_out.jsonl")}
    assert not held_out & {pair["input"]["messages"][0]["content"] for pair in pairs}
    origins = workspace.lines("pairs/provenance.jsonl")
    assert [origin["kept"] for origin in origins] == [True] * 20
    assert sorted(origin["line"] for origin in origins) == list(range(1, 21))
    assert len({origin["strong"]["text_sha256"] for origin in origins}) == 20

    with FireworksClient(local_server.url, account="local") as client:
        [made] = [d for d in client.list_datasets() if "-pairs-2" in d.name]
        assert made.example_count == 20
        [job] = [j for j in client.list_dpo_jobs() if workspace.session in j.name]
        assert job.dataset == made.name
        assert [name for name in names(client.list_deployments()) if "pairs" in name] == []  # taken down
    report = workspace.path("final_report.md").read_text()
    assert "20 pairs from 20 training prompts (100%)" in report
    assert "the strong model wins 100 % [" in report
    assert workspace.path("pairs/report.md").read_text().count("20 answers of") == 2
    assert "- Cost: pair generation, strong model 0.00 USD; pair generation, weak model 0.00 USD" in report

    # whoever wants to learn from the deployed model finds it by its data, until the platform has it no more
    endpoint = workspace.read("deployment.json", EndpointFacts)
    request_file = tmp_path / "request.yaml"
    request_file.write_text(json.dumps(parameters["request"]))
    assert endpoint is not None
    assert find_strong(request_file) == endpoint.model
    assert strong_of(workspace.session) == parameters["request"]["pairs"]["strong"]
    request_file.write_text(json.dumps({**parameters["request"], "dataset": "other.jsonl"}))
    assert find_strong(request_file) is None

    # every number of it can be made again, and what is changed afterwards is found
    assert verify(workspace) == []
    assert len({origin["row_sha256"] for origin in origins}) == 20
    file = workspace.path("pairs/pairs.jsonl")
    file.write_text(file.read_text().replace("/tuned", "/better", 1))
    [wrong, other_hash] = verify(workspace)
    assert f"the strong answer to line {origins[0]['line']} is not the one in journal.db" in wrong
    assert "has another hash" in other_hash


@pytest.mark.parametrize("on_platform", [False, True], ids=["a local file", "a dataset of the platform"])
def test_what_the_user_brought_is_as_it_was_and_the_pairs_are_a_dataset_of_their_own(
    local_server, make_request, answering, home, tmp_path, on_platform
):
    parameters = prompts_request(make_request, local_server.url, tmp_path)
    request, file = parameters["request"], Path(parameters["request"]["dataset"])
    with FireworksClient(local_server.url, account="local", session=TEACHER) as client:
        if on_platform:
            request["dataset"] = client.ensure_dataset("my-prompts", file, example_count=20).name

        def brought() -> tuple[object, ...]:
            datasets = {each.name: each for each in client.list_datasets() if SESSION not in each.name}
            rows = {
                name: [part.read_bytes() for part in client.download_dataset(name, tmp_path / "down")]
                for name in datasets
            }
            return datasets, rows, file.read_bytes(), file.stat().st_mtime_ns

        before = brought()
        assert len(before[0]) == 1 + on_platform  # the teacher's, and the user's
        with answering(APPROVE | {"comparison": {"decision": "stop"}}):
            state = preference_learning(request | {"session": SESSION}, return_state=True)
        assert state.is_completed(), state.message
        assert brought() == before
        ours = [name for name in names(client.list_datasets()) if SESSION in name]
        [pairs] = [name for name in ours if re.fullmatch(rf"pw-{SESSION}-pairs-\d{{8}}-?\d{{6}}\w*", name)]
        [job] = [each for each in client.list_dpo_jobs() if SESSION in each.name]
        assert job.dataset.rsplit("/", 1)[-1] == pairs


def test_models_that_do_not_differ_stop_at_a_question_and_only_the_first_prompts_are_bought(
    local_server, make_request, answering, home, tmp_path
):
    parameters = prompts_request(make_request, local_server.url, tmp_path, pairs={"first_prompts": 6})
    evaluator = tmp_path / "evaluator" / "judge.py"
    evaluator.write_text("def evaluate(messages, **kwargs):\n    return {'score': 0.5}\n")
    with answering({**APPROVE, "pairs": {"decision": "stop"}}) as gates:
        state = preference_learning(**parameters, return_state=True)
    assert (state.name, state.type) == ("Rejected", "COMPLETED")
    assert [gate for gate, _ in gates.pages] == ["plan", "pairs"]
    assert "wins 50 % [" in gates.pages[1][1]
    workspace = the_session(home)
    assert "12 answers" in "".join(e["text"] for e in workspace.lines("events.jsonl") if e["phase"] == "pairs")
    with FireworksClient(local_server.url, account="local") as client:
        assert [d for d in client.list_datasets() if workspace.session in d.name and "-pairs-2" in d.name] == []
        assert [j for j in client.list_dpo_jobs() if workspace.session in j.name] == []
        assert names(client.list_deployments()) == []


def test_what_cannot_be_trained_on_is_left_out_and_counted(local_server, make_request, answering, home, tmp_path):
    words = ["apple", "boat", "candle", "drum", "engine", "flute", "garden", "hat", "island", "jar"]
    long = " ".join(f"word{n}" for n in range(30))  # 16 tokens are all there is, and one word is then different
    prompts = [f"Say what a {word} is for" for word in words] + [long, "!refuse=INVALID_ARGUMENT"]
    parameters = prompts_request(make_request, local_server.url, tmp_path, prompts, pairs={"max_similarity": 0.9})
    with answering(APPROVE):
        state = preference_learning(**parameters, return_state=True)
    assert state.is_completed(), state.message
    made = the_session(home).read_json("pairs/pairs.json")
    assert made["n_prompts"] == 12
    assert made["n_valid"] == 10
    assert made["drops"] == {"too alike (similarity 0.9 or more)": 1, "content refused (strong)": 1}


def test_one_model_for_both_is_asked_about(local_server, make_request, answering, home, tmp_path):
    parameters = prompts_request(make_request, local_server.url, tmp_path)
    strong = parameters["request"]["pairs"]["strong"]
    parameters["request"]["pairs"]["strong"] = "tiny"
    inputs = [{"pairs_strong": "tiny", "pairs_weak": "tiny"}, {"pairs_strong": strong, "pairs_weak": "tiny"}]
    with answering({"inputs": inputs, "plan": {"decision": "reject"}}) as gates:
        state = preference_learning(**parameters, return_state=True)
    assert state.name == "Rejected", state.message
    assert [gate for gate, _ in gates.pages] == ["inputs", "inputs", "plan"]
    assert "pairs.strong and pairs.weak are both accounts/fireworks/models/tiny" in gates.pages[1][1]
    assert the_session(home).read_json("plan.json")["pairs"]["strong"]["name"].endswith(f"/pw-{TEACHER}-t1")


@pytest.mark.parametrize("named", ["", "weak"])
def test_models_that_cannot_be_picked_are_asked_for(local_server, make_request, answering, home, tmp_path, named):
    parameters = prompts_request(make_request, local_server.url, tmp_path)
    pairs = parameters["request"]["pairs"]
    answers = {f"pairs_{role}": pairs[role] for role in ("strong", "weak") if role != named}
    pairs.update(dict.fromkeys({"strong", "weak"} - {named}, ""))
    with answering({"inputs": {"decision": "go on", **answers}, "plan": {"decision": "reject"}}) as gates:
        state = preference_learning(**parameters, return_state=True)
    assert state.name == "Rejected", state.message
    assert [gate for gate, _ in gates.pages] == ["inputs", "plan"]
    page = gates.pages[0][1]
    assert ("no two models with one at least 2 times the other's size" in page) is not bool(named)
    assert "Which model gives the answers to prefer (strong)?" in page
    assert ("Which model gives the others (weak)?" in page) is not bool(named)
    plan = the_session(home).read_json("plan.json")
    assert plan["pairs"]["strong"]["name"].endswith(f"/pw-{TEACHER}-t1")
    assert plan["pairs"]["weak"]["name"].endswith("/tiny")


def test_a_change_that_names_one_model_for_both_is_taken_back(local_server, make_request, answering, home, tmp_path):
    parameters = prompts_request(make_request, local_server.url, tmp_path)
    change = {"decision": "change", "change": "The strong model is tiny."}
    with answering({"plan": [change, {"decision": "reject"}]}) as gates:
        state = preference_learning(**parameters, return_state=True)
    assert state.name == "Rejected", state.message
    assert "None of this change is done: pairs.strong and pairs.weak are both" in gates.pages[1][1]


def test_who_names_models_beside_pairs_is_told(local_server, make_request, answering):
    parameters = make_request(local_server.url, pairs={"strong": "tiny", "weak": "tiny"})
    state = preference_learning(**parameters, return_state=True)
    assert "has pairs already" in state.message


def start(parameters: dict) -> subprocess.Popen:
    """The flow in a process of its own, as the shell and the worker run it."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(preference_learning, parameters=parameters)
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    return subprocess.Popen(
        [sys.executable, "-m", "flows.execute", str(run.id)], cwd=ROOT, env={**os.environ, **settings}
    )


def journaled(workspace: Workspace) -> dict[str, str]:
    """The answers of the pairs that are on disk: key and time."""
    file = workspace.folder / "journal.db"
    if not file.exists():
        return {}
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        try:
            return dict(db.execute("select key, at from answers where parameters like '%\"max_tokens\": 24%'"))
        except sqlite3.OperationalError:  # it is being made
            return {}


@pytest.mark.slow
def test_after_kill_9_while_answers_are_bought_none_is_bought_again(
    local_server, make_request, answering, home, tmp_path
):
    prompts = [f"!slow=0.3 Say what number {n} is for {'x' * n}" for n in range(30)]
    asked = {"pairs": {"first_prompts": 8, "max_tokens": 24}, "sampling": {"max_tokens": 16, "concurrency": 4}}
    parameters = prompts_request(make_request, local_server.url, tmp_path, prompts, session=SESSION, **asked)
    workspace = Workspace(SESSION, home)
    with answering({"plan": {"decision": "approve"}}):
        process = start(parameters)
        try:
            deadline = time.monotonic() + 600
            while len(journaled(workspace)) < 22:  # the first pass is over, the rest is under way
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    before = journaled(workspace)
    assert 22 <= len(before) < 60

    with answering({**APPROVE, "comparison": {"decision": "stop"}}) as gates:
        assert start(parameters).wait(900) == 0
    assert [gate for gate, _ in gates.pages] == ["comparison"]
    after = journaled(workspace)
    assert len(after) == 60
    assert before.items() <= after.items()
    with closing(Journal(workspace.path("journal.db"))) as journal:
        n_twice = journal.n_possibly_billed_twice()
    assert 1 <= n_twice <= 4  # no more than were in flight
    report = workspace.path("final_report.md").read_text()
    assert f"{n_twice} calls were in flight when a process died" in report
    with FireworksClient(local_server.url, account="local") as client:
        assert len([d for d in client.list_datasets() if f"{SESSION}-pairs-2" in d.name]) == 1
        assert [name for name in names(client.list_deployments()) if "pairs" in name] == []

    undisturbed = {**parameters["request"], "session": "1779157377-41e1"}
    with answering(APPROVE):
        preference_learning(undisturbed, return_state=True)
    other = Workspace("1779157377-41e1", home)
    assert other.path("pairs/pairs.jsonl").read_bytes() == workspace.path("pairs/pairs.jsonl").read_bytes()
