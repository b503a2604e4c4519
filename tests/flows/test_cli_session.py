"""Sessions in the shell: list, get and report read the session's folder."""

from __future__ import annotations

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from blocks.workspace import Workspace
from flows.cli import app
from preference.session import Outcome, SessionRecord, SessionState
from preference.settings import PreferenceRequest

OLD, NEW = "1779157376-41e1", "1779157999-00ff"
REQUEST = PreferenceRequest(dataset="pairs.jsonl", base_model="tiny", evaluator="judge.py::evaluate")


@pytest.fixture(autouse=True)
def two_sessions(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFWORKS_HOME", str(tmp_path))
    ended = {"state": SessionState.SUCCEEDED, "outcome": Outcome.PROMOTED, "message": "t1 is deployed"}
    Workspace(OLD).write("session.json", SessionRecord(session=OLD, request=REQUEST, **ended))
    Workspace(OLD).write_text("final_report.md", "**Promoted t1.**\n")
    Workspace(NEW).write("session.json", SessionRecord(session=NEW, request=REQUEST, state=SessionState.WAITING))
    Workspace(NEW).append("events.jsonl", {"phase": "plan", "text": "waiting for an answer at the plan gate"})


def session(*args: str):
    return CliRunner().invoke(app, ["session", *args])


def test_sessions_are_listed_newest_first():
    assert [r["session"] for r in json.loads(session("list", "--json").stdout)] == [NEW, OLD]


def test_the_list_shows_the_data_or_how_the_instruction_begins(monkeypatch):
    monkeypatch.setattr("flows.cli_session.console", Console(width=200))
    text = "Run DPO on accounts/me/datasets/prefs using Qwen3 32B. Judge by: the answer is short, and cites."
    asked = PreferenceRequest(instruction=text)
    Workspace(NEW).write("session.json", SessionRecord(session=NEW, request=asked, state=SessionState.WAITING))
    table = session("list").stdout
    assert "pairs.jsonl" in table
    assert "Run DPO on accounts/me/datasets/prefs using Qwen3 32B. …" in table


def test_the_list_can_be_of_those_that_wait():
    assert [r["session"] for r in json.loads(session("list", "--status", "waiting", "--json").stdout)] == [NEW]


def test_a_session_says_where_it_stands():
    assert "waiting for an answer at the plan gate" in session("get", NEW).stdout
    assert json.loads(session("get", OLD, "--json").stdout)["outcome"] == "promoted"


def test_where_prefect_cannot_be_reached_the_folder_still_tells(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    result = session("get", NEW, "--json")
    assert (result.exit_code, "no Prefect API is there" in result.stderr) == (0, True), result.output
    told = json.loads(result.stdout)
    assert (told["state"], told["question"]) == ("waiting", None)


def test_the_report_is_printed():
    assert "**Promoted t1.**" in session("report", OLD).stdout
    assert json.loads(session("report", OLD, "--json").stdout) == {"session": OLD, "report": "**Promoted t1.**\n"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("report", NEW), "is waiting and has no report yet"),
        (("get", "1779157376-ffff"), "there is no session 1779157376-ffff"),
        (("get", "../../etc"), "is not a session's ID"),
    ],
)
def test_what_is_not_there_is_said_and_ends_with_2(args, message):
    result = session(*args)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
