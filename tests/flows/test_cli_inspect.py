"""`prefworks inspect`, from its arguments to its exit code."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.preference.test_real_data import source

GOOD = {"prompt": "Why is the sky blue?", "chosen": "It scatters light.", "rejected": "It is not."}


def inspected(*arguments):
    done = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_sound_file_is_shown(tmp_path):
    code, out, _ = inspected(write(tmp_path / "a.jsonl", GOOD, GOOD), "--context-length", 3)
    assert code == 0
    assert "exact duplicates: 1\n" in out
    assert "rows over the context of 3 tokens: 2\n" in out


def test_faults_are_told_and_end_in_1(tmp_path):
    file = write(tmp_path / "a.jsonl", GOOD, {"prompt": "x", "chosen": "y"})
    code, out, err = inspected(file)
    assert (code, out) == (1, "")
    assert "line 2, rejected: missing" in err
    code, out, _ = inspected(file, "--json")
    value = json.loads(out)
    assert (code, value["profile"], value["intake"]["n_faults"]) == (1, None, 1)


@pytest.mark.parametrize("name", ["none.jsonl", "empty.jsonl"])
def test_what_is_no_dataset_ends_in_2(tmp_path, name):
    (tmp_path / "empty.jsonl").touch()
    code, out, _ = inspected(tmp_path / name, "--json")
    assert code == 2
    assert list(json.loads(out)) == ["trouble", "profile", "intake"]


@pytest.mark.parametrize(
    ("name", "kind", "n_rows"),
    [
        ("hh-rlhf-harmless-base-test.jsonl.gz", "pairs", 658),
        ("fireworks-cookbook-orpo-ifeval.jsonl", "pairs", 100),
        ("mt-bench-questions.jsonl", "prompts", 80),
    ],
)
def test_public_files(name, kind, n_rows):
    code, out, _ = inspected(source(name), "--json")
    found = json.loads(out)["profile"]
    assert (code, found["format"], found["n_rows"]) == (0, kind, n_rows)
