"""`prefworks verify` on a judged session: each number made again from the journaled verdicts, and each lie named."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from tasks.judging import QUALIFIED
from tasks.verifying import verify

TWO = {"learning_rates": [1e-4, 3e-4], "betas": [0.1], "max_context_length": 512}


def mixed(conversation: str, one: str, other: str) -> bool | None:
    """A tuned answer wins on most prompts, ties or loses on some; the shorter ones of the training pairs always win."""
    if not (one.endswith("/tuned") or other.endswith("/tuned")):
        return one.startswith("Short on")
    luck = hashlib.sha256(conversation.encode()).digest()[0] % 5
    return None if luck == 0 else one.endswith("/tuned") != (luck == 1)


@pytest.fixture
def session(start_local_server, make_judged, judges, answering, home, tmp_path) -> Workspace:
    """Its answers are of uneven length, so that there is something to control."""
    judges.better = mixed
    child = Path(__file__).parents[1] / "local_server" / "slow_generation.py"
    server = start_local_server(generation_command=(sys.executable, str(child), "no such word", str(tmp_path / "seen")))
    with answering({"plan": {"decision": "approve"}, "comparison": {"decision": "stop"}}):
        state = preference_learning(**make_judged(server.url, "perfect", sweep=TWO), return_state=True)
    assert state.name == "NotPromoted", state.message
    [folder] = (home / "sessions").iterdir()
    made = Workspace(folder.name, home)
    assert verify(made) == []
    return made


def numbers(value: Any, path: str) -> Iterator[tuple[str, list[Any]]]:
    """Each number in a JSON value: its path as verify writes it, and the keys that lead there."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        deeper = f"{path}: {key}" if isinstance(key, str) else f"{path}[{key}]"
        if isinstance(below, int | float) and not isinstance(below, bool):
            yield deeper, [key]
        for found, keys in numbers(below, deeper):
            yield found, [key, *keys]


@pytest.mark.slow  # the whole comparison is made again for each of them
def test_each_number_of_the_comparison_is_held_to_the_verdicts(session):
    kept = session.read_json("comparison.json")
    found = dict(numbers(kept, "comparison.json"))
    of_one = ["score", "win_rate", "length_controlled"]
    assert {
        f"comparison.json: candidates[1]: {what}: {bound}" for what in of_one for bound in ("value", "low", "high")
    } <= {*found}
    assert "comparison.json: headline: win_rate: low" in found
    for path, keys in found.items():
        lie = copy.deepcopy(kept)
        place = lie
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] += 1 if isinstance(place[keys[-1]], int) else 0.001
        session.write("comparison.json", lie)
        told = verify(session)
        assert [line for line in told if line.startswith(f"{path} is ")], (path, told)
    session.write("comparison.json", kept)
    assert verify(session) == []


def test_each_line_of_the_report_with_a_number_of_the_comparison_is_held_to_them(session):
    report = (session.folder / "final_report.md").read_text().splitlines()
    first, last = (report.index(title) for title in ("## Comparison", "## The judge"))
    places = [n for n in [*range(6), *range(first, last)] if re.search(r"\d", report[n])]
    assert any("at equal length" in report[n] for n in places)
    for n in places:
        lie = re.sub(r"\d(?=\D*$)", lambda digit: str((int(digit[0]) + 1) % 10), report[n])  # the last digit
        session.write_text("final_report.md", "\n".join([*report[:n], lie, *report[n + 1 :]]) + "\n")
        assert f"final_report.md says, and the folder does not: {lie}" in verify(session)


def test_each_changed_verdict_is_named(session):
    """In the folder, and in the journal: of the half that chooses, of the one that confirms, and of the labels."""
    name = "verdicts/selection-t1.jsonl"
    honest = (session.folder / name).read_text()
    lines = session.lines(name)
    won = next(line for line in lines if line["score"] == 1)
    won |= {"score": 0.0, "verdicts": won["verdicts"][::-1]}
    session.write_text(name, "".join(json.dumps(line) + "\n" for line in lines))
    assert any(f"{name}: the verdict on prompt {won['prompt_id']} is not" in line for line in verify(session))
    session.write_text(name, honest)

    kept = session.read_json(QUALIFIED)
    lie = copy.deepcopy(kept)
    lie["tries"][0]["consistent"] = 0.99
    session.write(QUALIFIED, lie)
    assert f"{QUALIFIED}: try 1 is not what the verdicts in journal.db come to" in verify(session)
    session.write(QUALIFIED, kept)

    prompts = {
        line["prompt"]: (part, line["prompt_id"])
        for part in ("selection", "confirmation")
        for file in (session.folder / "verdicts").glob(f"{part}-t?.jsonl")
        for line in session.lines(f"verdicts/{file.name}")
    }
    parts = set()
    with closing(sqlite3.connect(session.folder / "journal.db", isolation_level=None)) as journal:
        rows = journal.execute("select key, messages, text from answers where text like '%winner%'").fetchall()
        for key, messages, text in rows:
            asked = json.loads(messages)[-1]["content"]
            part, prompt_id = next((of for prompt, of in prompts.items() if prompt in asked), ("labels", ""))
            winner = json.loads(text)["winner"]
            lie = json.dumps({**json.loads(text), "winner": {"A": "B", "B": "tie", "tie": "A"}[winner]})
            journal.execute("update answers set text = ? where key = ?", (lie, key))
            told = verify(session)
            journal.execute("update answers set text = ? where key = ?", (text, key))
            if part == "labels":
                assert f"{QUALIFIED}: try 1 is not what the verdicts in journal.db come to" in told
            else:
                trials = [f"verdicts/{part}-{t}.jsonl: the verdict on prompt {prompt_id} is not" for t in ("t1", "t2")]
                assert any(line.startswith(tuple(trials)) for line in told), (part, prompt_id, told)
            parts.add(part)
    assert parts == {"selection", "confirmation", "labels"}
    assert verify(session) == []
