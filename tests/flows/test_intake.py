"""What happens to the data before the plan: staged once, leaks, too few prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.formats import BadDataset
from tasks.inspection import stage_dataset

REJECT = {"plan": {"decision": "reject"}}


def run(parameters: dict):
    return preference_learning(**parameters, return_state=True)


def keep(path: str, n: int) -> None:
    """The file's first n rows alone."""
    lines = Path(path).read_text().splitlines(keepends=True)
    Path(path).write_text("".join(lines[:n]))


def the_session(home: Path) -> Workspace:
    [folder] = (home / "sessions").iterdir()
    return Workspace(folder.name, home)


def test_a_dataset_is_fetched_once_and_a_second_start_needs_neither_file_nor_server(
    local_server, make_request, home, tmp_path
):
    request = make_request(local_server.url)["request"]
    platform, workspace = FireworksPlatform.load(request["platform"]), Workspace("1779157376-41e1", home)
    staged = stage_dataset.fn(platform, workspace, request["dataset"], "data")
    before = staged.read_bytes(), workspace.read_json("dataset/data.staged.json")
    assert before[1]["dataset"] == "accounts/local/datasets/pw-1779157376-41e1-data"
    Path(request["dataset"]).unlink()
    local_server.stop()
    again = stage_dataset.fn(platform, workspace, request["dataset"], "data")
    assert (again.read_bytes(), workspace.read_json("dataset/data.staged.json")) == before
    staged.write_bytes(before[0] + before[0].splitlines(keepends=True)[0])
    with pytest.raises(BadDataset, match="is not what was fetched for this session"):
        stage_dataset.fn(platform, workspace, request["dataset"], "data")


def test_training_rows_with_held_out_prompts_are_kept_where_that_is_asked_for(
    local_server, make_request, answering, home
):
    parameters = make_request(local_server.url, keep_leaked_prompts=True)
    train, held_out = Path(parameters["request"]["dataset"]), Path(parameters["request"]["held_out"])
    leaked = held_out.read_text().splitlines(keepends=True)[0]
    train.write_text(train.read_text() + leaked)
    with answering(REJECT) as gates:
        run(parameters)
    assert (
        "1 training rows have held-out prompts (1 exactly, 0 nearly; lines 21): KEPT, as you asked"
        in (gates.pages[0][1])
    )
    workspace = the_session(home)
    assert json.loads(leaked)["input"] in [row["input"] for row in workspace.lines("dataset/train.jsonl")]
    assert "SOME on both sides, as asked" in workspace.path("final_report.md").read_text()


def test_with_few_held_out_prompts_the_gate_says_that_nothing_will_confirm(local_server, make_request, answering, home):
    parameters = make_request(local_server.url)
    keep(parameters["request"]["held_out"], 11)
    with answering(REJECT) as gates:
        run(parameters)
    page = gates.pages[0][1]
    assert "11 held-out prompts are too few for a confirmation half (12 are needed)" in page
    assert "11 held-out prompts (" not in page  # no halves are named


def test_with_two_held_out_prompts_or_two_pairs_nothing_is_planned(local_server, make_request, answering, home):
    for field in ("held_out", "dataset"):
        parameters = make_request(local_server.url)
        keep(parameters["request"][field], 2)
        with answering(REJECT) as gates:
            state = run(parameters)
        assert state.is_failed()
        assert "at least 3 rows and 3 distinct prompts are needed" in state.message
        assert gates.pages == []
