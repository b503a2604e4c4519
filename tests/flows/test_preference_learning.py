"""The flow whole, on Prefect's own server and the real local server, with scripted training and answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.session import Outcome, SessionRecord, SessionState

TWO = {"learning_rates": [1e-4, 3e-4], "betas": [0.1], "max_context_length": 512}
APPROVE = {
    "plan": {"decision": "approve", "name": "Ada"},
    "comparison": {"decision": "continue"},
    "promotion": {"decision": "approve"},
}


def run(parameters: dict):
    return preference_learning(**parameters, return_state=True)


def the_session(home: Path) -> Workspace:
    [folder] = (home / "sessions").iterdir()
    return Workspace(folder.name, home)


def record(home: Path) -> SessionRecord:
    found = the_session(home).read("session.json", SessionRecord)
    assert found is not None
    return found


def jobs(url: str) -> list[dict]:
    return httpx.get(f"{url}/v1/accounts/local/dpoJobs").json()["dpoJobs"]


def deployments(url: str) -> list[str]:
    found = httpx.get(f"{url}/v1/accounts/local/deployments").json()["deployments"]
    return [d["name"].rsplit("-", 1)[-1] for d in found]


def artifacts(flow_run_id) -> dict[str, str]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        )
    return {a.key: a.data for a in found}


def test_from_pairs_to_a_deployed_and_measured_model(local_server, make_request, answering, home):
    with answering(APPROVE) as gates:
        state = run(make_request(local_server.url))
    assert (state.name, state.type) == ("Completed", "COMPLETED"), state.message
    assert [gate for gate, _ in gates.pages] == ["plan", "comparison", "promotion"]
    assert "Nothing has been spent so far" in gates.pages[0][1]
    assert "a clear winner" in gates.pages[1][1]

    session = the_session(home)
    assert record(home).outcome is Outcome.PROMOTED
    assert [job["name"].rsplit("/", 1)[-1] for job in jobs(local_server.url)] == [f"pw-{session.session}-t1"]
    assert deployments(local_server.url) == ["winner"]  # the evaluation's was taken down
    report = session.path("final_report.md").read_text()
    assert "**Promoted t1.** t1 scores 0.90" in report
    assert "its base 0.20" in report
    assert "win rate 100 % [" in report
    assert "confirmation prompts, which did not choose it" in report
    assert "plan gate: approve by Ada" in report
    shown = artifacts(state.state_details.flow_run_id)
    for picture in ("win-rates", "training", "lengths"):
        assert session.folder.joinpath(f"figures/{picture}.png").read_bytes().startswith(b"\x89PNG")
        assert f"](figures/{picture}.png)" in report
    assert shown["final-report"].count("](data:image/png;base64,") == 3
    assert "](figures/" not in shown["final-report"]
    assert shown.keys() >= {
        "dataset-profile",
        "plan",
        "comparison",
        "endpoint",
        "final-report",
    }


def test_the_plan_names_what_was_converted_dropped_and_left_out(local_server, make_request, answering, home):
    parameters = make_request(local_server.url)
    train = Path(parameters["request"]["dataset"])
    held_out = json.loads(Path(parameters["request"]["held_out"]).read_text().splitlines()[0])
    rows = [
        {"prompt": "Name a tree", "chosen": "Oak.", "rejected": "I would rather not name one."},
        {"prompt": "Name a fish", "chosen": "Carp.", "rejected": " "},
        held_out,
    ]
    train.write_text(train.read_text() + "".join(json.dumps(row) + "\n" for row in rows))
    with answering({"plan": {"decision": "reject"}}) as gates:
        run(parameters)
    page = gates.pages[0][1]
    assert "train.jsonl: 1 rows converted: chosen and rejected text put into messages (line 21)" in page
    assert "train.jsonl: 1 rows dropped: empty answer (line 22)" in page
    assert "1 training rows have held-out prompts (1 exactly, 0 nearly; lines " in page
    assert "left out of training" in page
    profile = the_session(home).read_json("dataset/profile.json")
    assert profile["train"]["intake"]["drops"] == {"empty answer": {"n_rows": 1, "lines": [22]}}
    assert profile["split"]["n_leaks"] == 1
    assert profile["train"]["n_over_context"] == {"training": 0, "tiny": 0}


def test_the_report_s_snippet_runs_as_it_stands(local_server, make_request, answering, home):
    """It is the official SDK's."""
    with answering(APPROVE):
        run(make_request(local_server.url))
    report = the_session(home).path("final_report.md").read_text()
    code = report.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.endswith(" /tuned\n"), done.stderr


def test_a_rejected_plan_trains_nothing(local_server, make_request, answering, home):
    with answering({"plan": {"decision": "reject"}}):
        state = run(make_request(local_server.url))
    assert (state.name, state.type) == ("Rejected", "COMPLETED")
    assert jobs(local_server.url) == []
    assert deployments(local_server.url) == []
    assert record(home).state is SessionState.CANCELLED
    assert "**Rejected.** The plan was rejected: nothing was trained, nothing was spent." in (
        the_session(home).path("final_report.md").read_text()
    )


def test_stop_at_the_comparison_deploys_nothing(local_server, make_request, answering, home):
    with answering({**APPROVE, "comparison": {"decision": "stop"}}):
        state = run(make_request(local_server.url))
    assert (state.name, state.type) == ("NotPromoted", "COMPLETED")
    assert deployments(local_server.url) == []
    assert record(home).outcome is Outcome.NOT_PROMOTED


def test_promote_takes_a_name_from_the_table_and_asks_again_for_another(local_server, make_request, answering, home):
    told = [{"decision": "promote", "candidate": "t9"}, {"decision": "promote", "candidate": "t2"}]
    with answering({**APPROVE, "comparison": told}) as gates:
        state = run(make_request(local_server.url, sweep=TWO))
    assert "t1 is not clearly better than t2" in gates.pages[1][1]
    assert state.name == "Completed", state.message
    assert "There is no candidate 't9'; there are t1, t2." in gates.pages[2][1]
    assert "**Promoted t2, as told. That is not the proposed winner (t1), and it was not confirmed.**" in (
        the_session(home).path("final_report.md").read_text()
    )


def test_a_gate_that_nobody_answers_ends_the_run_under_its_name(local_server, make_request, home):
    state = run(make_request(local_server.url, gate_timeout_days=3 / 86400))
    assert (state.name, state.type) == ("TimedOut", "COMPLETED"), state.message
    assert jobs(local_server.url) == []
    assert "nobody answered the plan gate" in the_session(home).path("final_report.md").read_text()


def test_a_disk_without_room_is_said_before_anything_is_made(local_server, make_request, monkeypatch, home):
    monkeypatch.setattr("flows.sessions.NEEDED_MB", 10**12)
    state = run(make_request(local_server.url))
    assert state.is_failed()
    assert "no space left: " in state.message
    assert "1000000000000 MB are needed. Make room, or set PREFWORKS_HOME" in state.message
    assert not (home / "sessions").exists()


def test_prompts_without_two_models_to_answer_them_wait_before_anything_is_bought(
    local_server, make_request, answering, tmp_path, home
):
    prompts = tmp_path / "prompts.jsonl"
    rows = [{"messages": [{"role": "user", "content": f"Say {i} times yes"}]} for i in range(40)]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with answering({"inputs": {"decision": "stop"}}) as gates:
        state = run(make_request(local_server.url, dataset=str(prompts)))
    assert state.name == "Rejected", state.message
    assert "The dataset has prompts without answers, and of tiny's family" in gates.pages[0][1]
    assert the_session(home).path("final_report.md").exists()
    for collection in ("dpoJobs", "deployments"):
        assert not httpx.get(f"{local_server.url}/v1/accounts/local/{collection}").json().get(collection)


def test_dpo_and_orpo_side_by_side_where_one_fails_the_other_goes_on(local_server, make_request, answering, home):
    """t2's loss is no number: its job, which would take an hour, is cancelled."""
    sweep = {"learning_rates": [1e-4], "betas": [0.1], "orpo_lambdas": [0.5], "max_context_length": 512}
    order = "!only=t2 nan steps=3600 pause=1"
    parameters = make_request(local_server.url, order, methods=["DPO", "ORPO"], sweep=sweep)
    with answering({**APPROVE, "comparison": {"decision": "stop"}}) as gates:
        state = run(parameters)
    assert state.name == "NotPromoted", state.message
    jobs = httpx.get(f"{local_server.url}/v1/accounts/local/dpoJobs").json()["dpoJobs"]
    assert {job["name"].rsplit("-", 1)[-1]: job["lossConfig"]["method"] for job in jobs} == {"t1": "DPO", "t2": "ORPO"}
    assert "| t1: DPO lr 0.0001, beta 0.1" in gates.pages[1][1]
    assert "| t2:" not in gates.pages[1][1]
    report = the_session(home).path("final_report.md").read_text()
    assert "| t2 | ORPO lr 0.0001, lambda 0.5" in report
    assert "cancelled: dpo_loss is nan at step 1: lower the learning rate." in report


def test_where_all_trials_fail_the_run_has_failed_with_each_reason(local_server, make_request, answering, home):
    parameters = make_request(local_server.url, "!exit=3", sweep=TWO)
    with answering(APPROVE):
        state = run(parameters)
    assert state.is_failed()
    report = the_session(home).path("final_report.md").read_text()
    assert "none of the 2 trials has a model" in report
    assert "exit code 3" in report
    assert record(home).state is SessionState.FAILED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "no-such-file.jsonl"}, "there is no file no-such-file.jsonl"),
        ({"dataset": "no-such-dataset"}, "no-such-dataset"),
        ({"platform": "no-such-block"}, "there is no FireworksPlatform block called 'no-such-block'"),
    ],
)
def test_bad_input_ends_in_one_clear_message_and_a_report(local_server, make_request, home, change, message):
    state = run(make_request(local_server.url, **change))
    assert state.is_failed()
    assert message in state.message
    assert message in the_session(home).path("final_report.md").read_text()
    assert jobs(local_server.url) == []


def test_fewer_than_three_pairs_are_refused(local_server, make_request, home, tmp_path):
    few = tmp_path / "few.jsonl"
    parameters = make_request(local_server.url)
    few.write_text("".join((tmp_path / "train.jsonl").read_text().splitlines(True)[:2]))
    parameters["request"]["dataset"] = str(few)
    state = run(parameters)
    assert state.is_failed()
    assert "3" in state.message
    assert jobs(local_server.url) == []


def test_every_fault_of_a_file_is_told_in_one_run(local_server, make_request, home, tmp_path):
    bad = tmp_path / "bad.jsonl"
    good = json.dumps({"input": {"messages": [{"role": "user", "content": "x"}]}})
    bad.write_text("not json\n" + good + "\n")
    state = run(make_request(local_server.url, dataset=str(bad)))
    assert state.is_failed()
    assert "line 1" in state.message
    assert "line 2" in state.message


EVALUATORS = {
    "raises": ("def evaluate(messages, **kwargs):\n    raise RuntimeError('no rubric')\n", "no rubric"),
    "nonsense": ("def evaluate(messages, **kwargs):\n    return 'very good'\n", "score"),
    "broken": ("def evaluate(messages, **kwargs)\n    return 1\n", "is not valid Python"),
}


@pytest.mark.parametrize("kind", EVALUATORS)
def test_an_evaluator_that_cannot_score_ends_the_run_with_its_reason(
    local_server, make_request, answering, home, tmp_path, kind
):
    code, message = EVALUATORS[kind]
    parameters = make_request(local_server.url)
    (tmp_path / "evaluator" / "judge.py").write_text(code)
    with answering(APPROVE):
        state = run(parameters)
    assert state.is_failed()
    assert message in state.message
    assert deployments(local_server.url) == []


ODD = {
    "constant": (
        "def evaluate(messages, **kwargs):\n    return 0.5\n",
        "have the same score, 0.5: it tells nothing apart",
    ),
    "changing": (
        "import random\ndef evaluate(messages, **kwargs):\n    return random.random()\n",
        "came out differently when asked again",
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_evaluator_that_fails_its_trial_asks_before_anything_is_trained(
    local_server, make_request, answering, home, tmp_path, kind
):
    code, message = ODD[kind]
    parameters = make_request(local_server.url)
    (tmp_path / "evaluator" / "judge.py").write_text(code)
    with answering({**APPROVE, "evaluator": {"decision": "stop"}}) as gates:
        state = run(parameters)
    assert (state.name, state.type) == ("Rejected", "COMPLETED"), state.message
    assert message in gates.pages[1][1]
    assert jobs(local_server.url) == []
    assert "the evaluator was not trusted, and nothing was trained" in (
        the_session(home).path("final_report.md").read_text()
    )


def test_where_there_is_no_sandbox_a_human_decides_whether_the_code_may_run(
    local_server, make_request, answering, home, monkeypatch
):
    monkeypatch.setattr("flows.scoring.why_not_sandboxed", lambda: "this system cannot isolate a program (so a test).")
    with answering({"sandbox": {"decision": "continue", "name": "Ada"}, "plan": {"decision": "reject"}}) as gates:
        state = run(make_request(local_server.url))
    assert (state.name, state.type) == ("Rejected", "COMPLETED"), state.message
    assert [gate for gate, _ in gates.pages] == ["sandbox", "plan"]
    asked, plan = (page for _, page in gates.pages)
    assert "This system cannot isolate a program (so a test)." in asked
    assert "`judge.py::evaluate`, 2 files, " in asked
    assert "run WITHOUT a sandbox, as was accepted" in plan


def test_a_platform_that_is_not_running_is_said(make_request, home):
    state = run(make_request("http://127.0.0.1:9"))
    assert state.is_failed()
    assert "127.0.0.1:9" in state.message


def test_a_session_that_ended_is_not_begun_again(local_server, make_request, answering, home):
    with answering({"plan": {"decision": "reject"}}):
        parameters = make_request(local_server.url)
        run(parameters)
    parameters["request"]["session"] = the_session(home).session
    state = run(parameters)
    assert state.is_failed()
    assert "has ended (cancelled)" in state.message
    assert record(home).outcome is Outcome.REJECTED  # its record and report stay as they were
