"""`prefworks verify` on real sessions: an honest folder agrees, and whatever is changed in it is named."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from blocks.workspace import Workspace
from flows.cli import app
from flows.preference_learning import preference_learning
from tasks.verifying import differences

APPROVE = {
    "plan": {"decision": "approve"},
    "comparison": {"decision": "continue"},
    "promotion": {"decision": "approve"},
}


@pytest.fixture
def ended(local_server, make_request, answering, home) -> Callable[[dict], Workspace]:
    """ended(answers): the folder of a run that was answered so."""

    def run(answers: dict) -> Workspace:
        with answering(answers):
            preference_learning(**make_request(local_server.url), return_state=True)
        [folder] = (home / "sessions").iterdir()
        return Workspace(folder.name, home)

    return run


def verify(session: str, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", session, *options])
    return done.exit_code, done.output


def change(path: Path, old: str, new: str) -> str:
    """Change the file, and give what it said before."""
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new, 1))
    return before


def test_an_honest_report_agrees_and_each_changed_number_is_named(ended):
    session = ended(APPROVE)
    assert verify(session.session) == (
        0,
        "Every number of the report and the comparison was computed again and agrees.\n",
    )

    def named(file: str, old: str, new: str) -> str:
        path = session.folder / file
        before = change(path, old, new)
        code, told = verify(session.session)
        path.write_text(before)
        assert code == 1
        return told

    told = named("final_report.md", "t1 scores 0.90", "t1 scores 0.97")
    assert "final_report.md says, and the folder does not: **Promoted t1.** t1 scores 0.97" in told
    assert "final_report.md should say: **Promoted t1.** t1 scores 0.90" in told

    told = named("verdicts/selection-t1.jsonl", '"score": 0.9', '"score": 0.1')
    assert "comparison.json: candidates[0]: score: value is 0.9" in told

    told = named("verdicts/confirmation-t1.jsonl", "/tuned", "/better")
    assert "verdicts/confirmation-t1.jsonl: the answer to prompt" in told
    assert "is not the one in journal.db" in told

    told = named("verdicts/selection-t1.jsonl", '"completion_tokens": ', '"completion_tokens": 9')
    assert "verdicts/selection-t1.jsonl: the answer to prompt" in told

    told = named("plan.json", '"learning_rate": ', '"learning_rate": 9')
    assert "plan.json is not a plan that was approved at the gate" in told

    told = named("comparison.json", '"n_selection": 1', '"n_selection": 10')
    assert "comparison.json: n_selection is 10" in told

    told = named("trials/t1/result.json", '\n "seed": ', '\n "seed": 9')
    assert "final_report.md should say: | t1 |" in told

    told = named("trials/t1/result.json", '"metrics"', "metrics")
    assert "the report cannot be made again from the folder: ValidationError" in told

    lines = (session.folder / "verdicts/selection-base.jsonl").read_text().splitlines(keepends=True)
    told = named("verdicts/selection-base.jsonl", lines[0], "")
    assert (
        "the report cannot be made again from the folder: ValueError: verdicts/selection-base.jsonl has other" in told
    )
    assert verify(session.session)[0] == 0


def test_more_tokens_in_the_journal_than_the_report_says_are_found(ended):
    session = ended(APPROVE)
    with closing(sqlite3.connect(session.folder / "journal.db")) as journal, journal:
        journal.execute("update answers set completion_tokens = completion_tokens + 1000")
    code, told = verify(session.session, "--json")
    assert code == 1
    assert any("completion tokens" in line for line in json.loads(told)["differences"])


def test_a_report_without_a_comparison_can_be_checked_too(ended):
    session = ended({"plan": {"decision": "reject"}})
    assert verify(session.session)[0] == 0
    change(session.folder / "final_report.md", "nothing was spent", "little was spent")
    assert verify(session.session)[0] == 1


def test_what_has_no_report_cannot_be_checked(home):
    code, told = verify("1779157376-41e1")
    assert code == 2
    assert "there is no final_report.md" in told
    assert verify("yesterday's")[0] == 2


def test_rounding_is_no_difference_and_unknown_is_not_zero():
    assert differences("x", {"a": [0.1 + 0.2]}, {"a": [0.3]}) == []
    assert differences("x", {"a": None}, {"a": 0}) == ["x: a is None; computed again it is 0"]
    assert differences("x", [1], [1, 2]) == ["x is [1]; computed again it is [1, 2]"]
