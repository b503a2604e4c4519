"""A request from the shell: files, plain English and fields, and what is wrong with them."""

from __future__ import annotations

import pytest
import typer

from flows.requesting import made_request


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my pairs.jsonl").touch()
    (tmp_path / "judge.py").touch()
    return tmp_path


def test_files_are_found_beside_the_request_and_in_the_current_folder(folder, monkeypatch):
    (folder / "request.yaml").write_text("dataset: my pairs.jsonl\nevaluator: judge.py::evaluate\n")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    (folder / "elsewhere" / "held.jsonl").touch()
    request = made_request(folder / "request.yaml", "", ["held_out=held.jsonl"])
    assert request.dataset == str(folder / "my pairs.jsonl")
    assert request.evaluator == f"{folder / 'judge.py'}::evaluate"
    assert request.held_out == str(folder / "elsewhere" / "held.jsonl")


def test_a_file_that_a_text_names_is_found_where_it_was_said(folder):
    request = made_request(None, 'Run DPO on "my pairs.jsonl" with judge.py::evaluate for 2 epochs.', [])
    assert request.dataset == str(folder / "my pairs.jsonl")
    assert request.evaluator == f"{folder / 'judge.py'}::evaluate"
    assert "my pairs.jsonl" in request.instruction


def test_fields_win_over_the_file_and_names_of_the_platform_stay(folder):
    (folder / "request.yaml").write_text("dataset: customer-prefs\nmax_active_jobs: 3\n")
    request = made_request(folder / "request.yaml", "Use Qwen3 8B.", ["max_active_jobs=2", "methods=[DPO, ORPO]"])
    assert (request.dataset, request.max_active_jobs, request.methods) == ("customer-prefs", 2, ["DPO", "ORPO"])
    assert request.instruction == "Use Qwen3 8B."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty, and a request is a mapping of fields"),
        (b"- a\n- b\n", "it is a list, and a request is a mapping"),
        (b"1: 2\n", "a request is a mapping"),
        (b"dataset: [a\n", "it is not YAML"),
        (b"\xff\xfe", "it is not UTF-8 text"),
        (b"datset: x\nsweep: {beta: 1}\n", "datset: there is no such field"),
        (b"max_active_jobs: many\n", "max_active_jobs: Input should be a valid integer"),
    ],
)
def test_a_file_that_is_no_request_is_refused_in_a_sentence(folder, capsys, content, told):
    (folder / "request.yaml").write_bytes(content)
    with pytest.raises(typer.Exit) as exit_:
        made_request(folder / "request.yaml", "", [])
    assert exit_.value.exit_code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("instruction", "fields", "told"),
    [
        ("", [], "what is to be done?"),
        ("token=a1b2c3d4e5f6a7b8c9d0", [], "looks like a key"),
        ("", ["betas"], "not FIELD=VALUE"),
        ("", ["methods=[a"], "is not a value"),
    ],
)
def test_what_cannot_be_asked_for_is_said(folder, capsys, instruction, fields, told):
    with pytest.raises(typer.Exit):
        made_request(None, instruction, fields)
    assert told in capsys.readouterr().err


def test_a_text_given_as_a_field_is_taken_as_it_stands(folder):
    asked = "Use Qwen3 8B. Budget: under $5."  # YAML would make a mapping of it
    assert made_request(None, "", ["dataset=a", f"instruction={asked}"]).instruction == asked
