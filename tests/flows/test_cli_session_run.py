"""Sessions from the shell, on Prefect's own server; the worker is a process of the test."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from prefect.client.orchestration import get_client

from blocks.workspace import Workspace
from flows.cli_session_run import look
from flows.events import Events, line_of
from flows.pages import remember, why_not_for
from preference.session import Outcome, SessionRecord
from tasks.spending import reserve

NOBODY = "1779157376-ffff"


def test_a_session_is_created_followed_answered_and_read(create_session, work, session_command):
    made = create_session()
    work(made["flow_run"])
    session = made["session"]

    waiting = session_command("events", session, "--wait", "--json")
    assert waiting.exit_code == 3, waiting.output
    *lines, last = [json.loads(line) for line in waiting.stdout.splitlines()]
    assert lines[0]["phase"] == "inspect"
    assert (last["state"], last["question"]["gate"]) == ("waiting", "plan")
    assert last["question"]["key"].startswith("plan-")
    assert "Plan: tune" in last["question"]["page"]

    refused = session_command("update", session, "--promote", "t1")
    assert (refused.exit_code, "plan gate" in refused.stderr) == (4, True), refused.output
    unclear = session_command("update", session, "--instruction", "Is it dear?")
    assert (unclear.exit_code, "Nothing was answered." in unclear.stderr) == (4, True), unclear.output
    approved = session_command("update", session, "--instruction", "Approved, proceed.", "--name", "Ada")
    assert approved.exit_code == 0, approved.output
    assert session_command("events", session, "--wait").exit_code == 3
    answered = session_command("update", session, "--instruction", "Promote t1.", "--json")
    said = json.loads(answered.stdout)
    assert said.pop("key").startswith("comparison-")
    assert said == {
        "session": session,
        "gate": "comparison",
        "answer": {"decision": "promote", "candidate": "t1"},
    }
    ended = session_command("events", session, "--wait")
    assert ended.exit_code == 0
    assert "[3 sweep] t1" in ended.stdout
    assert "[cost] " in ended.stdout
    assert f"{session}: promoted " in ended.stdout.splitlines()[-1]
    assert "plan gate: approve by Ada" in session_command("report", session).stdout
    assert session_command("verify", session).exit_code == 0

    again = session_command("update", session, "--approve")
    assert (again.exit_code, "is succeeded: nothing waits for an answer" in again.stderr) == (4, True)


def waits_at(session: str, other_than: str = "") -> str:
    """The key of the page that the session waits at, without showing it to anybody."""
    with get_client(sync_client=True) as client:
        while True:
            _, _, question = look(client, session)
            if question and question.key != other_than:
                return question.key
            time.sleep(0.2)


def test_an_answer_is_not_taken_for_a_page_that_its_caller_did_not_read(create_session, work, session_command):
    made = create_session()
    process, session = work(made["flow_run"]), made["session"]
    read = waits_at(session)
    shown = session_command("get", session)
    assert f"{session}: waiting at the plan gate ({read})" in shown.stdout, shown.output
    assert "Plan: tune" in shown.stdout
    assert json.loads(session_command("get", session, "--json").stdout)["question"]["key"] == read

    changed = session_command("update", session, "--instruction", "Use beta 0.2.", "--gate", read)
    assert changed.exit_code == 0, changed.output
    new = waits_at(session, other_than=read)
    late = session_command("update", session, "--approve", "--gate", read)
    assert (late.exit_code, f"that answers {read}, and {new} waits now" in late.stderr) == (4, True), late.output
    other = session_command("update", session, "--approve", "--gate", "comparison")
    assert (other.exit_code, f"that answers comparison, and {new} waits now" in other.stderr) == (4, True)
    assert session_command("update", session, "--approve", "--gate", "plan").exit_code == 0

    comparison = waits_at(session, other_than=new)
    assert comparison.startswith("comparison-")
    stale = session_command("update", session, "--instruction", "Approved, proceed.", "--json")
    assert stale.exit_code == 4, stale.output
    assert f"the page that was shown here last is {new}, and {comparison} waits now" in stale.stderr
    assert json.loads(stale.stdout)["question"]["key"] == comparison
    assert session_command("update", session, "--cancel").exit_code == 0  # now that it was shown
    assert process.wait(60) is not None
    gates = [record["gate"] for record in Workspace(session).lines("approvals.jsonl")]
    assert gates == ["plan", "plan", "comparison"]


def test_a_page_seen_elsewhere_may_be_answered_until_the_gate_asks_again(tmp_path):
    workspace = Workspace("1779157376-41e1", tmp_path)
    assert why_not_for(workspace, "plan-0a1b2c3d") == ""
    remember(workspace, "plan-0a1b2c3d")
    assert not workspace.folder.exists(), "no session's folder is made by looking"
    workspace.append("approvals.jsonl", {"gate": "plan"})
    assert "was not shown here" in why_not_for(workspace, "plan-4e5f6a7b")
    assert why_not_for(workspace, "plan-4e5f6a7b", "plan-4e5f6a7b") == ""
    remember(workspace, "plan-4e5f6a7b")
    assert why_not_for(workspace, "plan-4e5f6a7b", "plan") == ""


def test_cancel_as_an_answer_rejects_the_plan(create_session, work, session_command):
    made = create_session()
    work(made["flow_run"])
    assert session_command("events", made["session"], "--wait").exit_code == 3
    assert session_command("update", made["session"], "--cancel").exit_code == 0
    ended = session_command("events", made["session"], "--wait")
    assert (ended.exit_code, "rejected" in ended.stdout.splitlines()[-1]) == (1, True), ended.output


def test_create_does_not_wait_for_a_worker(create_session, session_command):
    made = create_session("!steps=2", "--set", "max_active_jobs=2")
    session = made["session"]
    result = session_command("events", session)
    assert (result.exit_code, result.stdout) == (0, f"{session}: scheduled\n")
    assert not Workspace(session).folder.exists()
    cancelled = session_command("cancel", session, "--json")
    assert cancelled.exit_code == 0
    assert "flow run" in json.loads(cancelled.stdout)["stopped"][0]
    assert session_command("cancel", session).exit_code == 4


def test_cancel_ends_the_run_and_its_jobs_and_says_so(
    create_session, work, session_command, local_server, home, monkeypatch
):
    monkeypatch.setattr("flows.ending.WORKER_S", 1)  # there is none
    made = create_session("!hang")
    session, process = made["session"], work(made["flow_run"])
    assert session_command("events", session, "--wait").exit_code == 3
    assert session_command("update", session, "--approve").exit_code == 0
    url = f"{local_server.url}/v1/accounts/local/dpoJobs"
    while not (jobs := httpx.get(url).json()["dpoJobs"]):
        assert process.poll() is None

    cancelled = session_command("cancel", session)
    assert cancelled.exit_code == 0, cancelled.output
    assert f"job pw-{session}-t1" in cancelled.stdout
    jobs = httpx.get(url).json()["dpoJobs"]
    assert [job["state"] for job in jobs] == ["JOB_STATE_CANCELLED"]
    record = Workspace(session, home).read("session.json", SessionRecord)
    assert record is not None
    assert record.outcome is Outcome.CANCELLED
    assert process.wait(60) is not None
    assert session_command("events", session, "--wait").exit_code == 1
    assert session_command("update", session, "--approve").exit_code == 4


def test_clean_removes_what_the_session_made_and_nothing_else(
    create_session, work, session_command, local_server, home
):
    made = create_session()
    session, process = made["session"], work(made["flow_run"])
    for answer in (["--approve"], ["--promote", "t1"]):
        assert session_command("events", session, "--wait").exit_code == 3
        assert session_command("clean", session, "--yes").exit_code == 4  # it still goes on
        assert session_command("update", session, *answer).exit_code == 0
    assert session_command("events", session, "--wait").exit_code == 0
    process.wait(60)
    api = f"{local_server.url}/v1/accounts/local"
    theirs = {"datasetId": "pw-1111111111-0000-data", "dataset": {"exampleCount": "1", "userUploaded": {}}}
    httpx.post(f"{api}/datasets", json=theirs).raise_for_status()

    def names() -> set[str]:
        kinds = ("deployments", "dpoJobs", "models", "datasets", "evaluators")
        return {item["name"].rsplit("/", 1)[-1] for kind in kinds for item in httpx.get(f"{api}/{kind}").json()[kind]}

    before = names()
    assert session_command("clean", session, input="n\n").exit_code == 4
    assert names() == before
    kept = session_command("clean", session, "--yes", "--json")
    assert kept.exit_code == 0, kept.output
    assert names() == {"pw-1111111111-0000-data", f"pw-{session}-winner", f"pw-{session}-t1"}
    assert session_command("clean", session, "--winner", "--folder", "--yes").exit_code == 0
    assert names() == {"pw-1111111111-0000-data"}
    assert not Workspace(session, home).folder.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("create", "--set", "max_active_jobs=0"), "max_active_jobs"),
        (("create", "--set", "betas"), "not FIELD=VALUE"),
        (
            ("create", "--set", "dataset=a", "--set", "base_model=b", "--set", "evaluator=c", "--deployment", "a/b"),
            "knows no deployment",
        ),
        (("events", NOBODY), f"there is no session {NOBODY}"),
        (("events", "../etc"), "is not a session's ID"),
        (("update", NOBODY), "say one of --instruction"),
        (("update", NOBODY, "--approve", "--cancel"), "say one of --instruction"),
        (("update", NOBODY, "--instruction", "Yes.", "--set", "change=x"), "say one of --instruction"),
        (("cancel", NOBODY), f"there is no session {NOBODY}"),
        (("clean", NOBODY), f"there is no session {NOBODY}"),
    ],
)
def test_what_cannot_be_is_said_and_ends_with_2(session_command, home, args, message):
    result = session_command(*args)
    assert (result.exit_code, message in result.stderr) == (2, True), result.output


def test_a_trial_s_line_has_its_loss_and_the_time_left(tmp_path):
    workspace = Workspace("1779157376-41e1", tmp_path)
    workspace.write("trials/t1/progress.json", {"step": 14, "total_steps": 56, "loss": 0.62, "eta_s": 40.2})
    events = Events(workspace)
    [event] = events.new()
    assert line_of({"at": "2026-11-24T14:03:22+00:00", **event}) == (
        "14:03:22 [3 sweep] t1: step 14 of 56, loss 0.62, about 40 s left"
    )
    assert events.new() == []


def test_the_cost_so_far_is_said_when_it_changes(tmp_path):
    workspace = Workspace("1779157376-41e1", tmp_path)
    events = Events(workspace)
    assert events.new() == []
    reserve(workspace, "pw-1779157376-41e1-t1", "Training", 2.5)
    [event] = events.new()
    assert event["text"] == ("0.00 USD spent so far, and not known: pw-1779157376-41e1-t1 (at most 2.50 in all).")
    assert events.new() == []
