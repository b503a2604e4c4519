"""`prefworks instruction`, as the shell runs it."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app


@pytest.mark.parametrize(
    ("says", "code"),
    [
        ("Run DPO on accounts/a/datasets/b using Qwen3 32B. Budget: under $5.", 0),
        ("Use beta 0.1. Use beta 0.3.", 1),
        ("Make it shine.", 1),
        ("", 1),
        ("Run SFT on accounts/a/datasets/b.", 2),
        ("My key is fw_" + "3ZnbYh2aBcDeFgHiJkLmNoPq", 2),
    ],
)
def test_the_exit_code_says_whether_it_was_understood(says, code):
    assert CliRunner().invoke(app, ["instruction", says]).exit_code == code


def test_it_shows_fields_words_questions_and_the_rest():
    said = "Use Qwen3 8B for 3 epochs. Budget 2,50 dollars. Bananas. Use KTO."
    shown = CliRunner().invoke(app, ["instruction", said]).output
    assert "base_models: Qwen3 8B  ← “Use Qwen3 8B”" in shown
    assert "sweep.epochs: 3  ← “3 epochs”" in shown
    assert "to answer: '2,50' can be read in two ways" in shown
    assert "not understood: “Bananas”" in shown
    assert "refused: “KTO”" in shown


def test_json_is_for_programs():
    result = CliRunner().invoke(app, ["instruction", "--json", "-"], input="Use Qwen3 8B.")
    reading = json.loads(result.output)
    assert reading["understood"] == [
        {"field": "base_models", "value": ["Qwen3 8B"], "words": "Use Qwen3 8B", "note": ""}
    ]
    refused = CliRunner().invoke(app, ["instruction", "--json", "token=a1b2c3d4e5f6a7b8c9d0"])
    assert "looks like a key" in json.loads(refused.output)["error"]
