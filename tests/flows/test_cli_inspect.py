"""`prefworks inspect`, from its arguments to its exit code."""

import json
from pathlib import Path

import pytest
from prefect.settings import get_current_settings
from tokenizers import Tokenizer, models
from typer.testing import CliRunner

from blocks.client import FireworksClient
from blocks.fireworks import FireworksPlatform
from flows.cli import app
from preference import cost as price_books
from preference.formats import stage
from tests.preference.test_real_data import source

GOOD = {"prompt": "Why is the sky blue?", "chosen": "It scatters light.", "rejected": "It is not."}


def inspected(*arguments):
    done = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_tokenizer(folder, template):
    folder.mkdir()
    Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")).save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(template)


def test_a_sound_file_is_shown(tmp_path):
    code, out, _ = inspected(write(tmp_path / "a.jsonl", GOOD, GOOD))
    assert (code, "rows over a context: not counted: name --base-model or --context-length\n" in out) == (0, True)
    code, out, _ = inspected(tmp_path / "a.jsonl", "--context-length", 3)
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


def test_a_chat_template_that_refuses_a_row_is_told(tmp_path):
    write_tokenizer(tmp_path / "model", "{{ raise_exception('no system messages here') }}")
    code, out, err = inspected(write(tmp_path / "a.jsonl", GOOD), "--tokenizer", tmp_path / "model")
    assert (code, out) == (1, "")
    assert "the chat template refuses these messages: no system messages here. Without --tokenizer" in err


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


def test_a_dataset_of_the_platform_is_counted_against_its_base_models(local_server, prefect, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", str(get_current_settings().api.url))
    prices = tmp_path / "prices.toml"  # of its own, so that no other model's files are made ready for counting
    swept = '[model_sweep]\nas_of = 2026-11-22\nsource = "this test"\nmodels = ["tiny"]\n'
    prices.write_text((Path(price_books.__file__).parent / "prices/local.toml").read_text() + swept)
    FireworksPlatform(base_url=local_server.url, account="local", price_book=str(prices)).save("looked", overwrite=True)
    long = {"prompt": "Why? " * 400, "chosen": "It scatters light.", "rejected": "It is not."}
    file = tmp_path / "canonical.jsonl"
    stage(write(tmp_path / "a.jsonl", GOOD, long, {**GOOD, "prompt": "Why is grass green?"}), file)
    with FireworksClient(local_server.url, account="local", session="1779157376-41e1") as client:
        client.ensure_dataset("pw-1779157376-41e1-look", file, example_count=3)
    platform = ("--platform", "looked", "--json")
    for name in ("pw-1779157376-41e1-look", "accounts/local/datasets/pw-1779157376-41e1-look"):
        code, out, err = inspected(name, *platform)
        assert code == 0, err
        found = json.loads(out)["profile"]
        assert (found["format"], found["n_rows"], found["n_over_context"]) == ("pairs", 3, {"tiny": 1})
    code, out, _ = inspected(file, "--base-model", "tiny", *platform)
    assert json.loads(out)["profile"]["n_over_context"] == {"tiny": 1}
    code, out, _ = inspected("no-such-dataset", *platform)
    assert code == 2
    assert "no-such-dataset" in json.loads(out)["trouble"]
