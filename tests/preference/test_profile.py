"""Numbers that a person can count by hand."""

import json

import numpy as np
import orjson
import pytest

from preference.formats import stage
from preference.profile import TokenStats, profile


class Words:
    """A tokenizer that everybody can follow: words."""

    name, error, fingerprint = "words", None, "words"

    def count_texts(self, texts):
        return [len(text.split()) for text in texts]

    def count_rows(self, rows):
        return [self._count(row) for row in rows]

    def _count(self, row):
        prompt = row.get("input", row)["messages"][-1]["content"]
        answers = [row[k][0]["content"] for k in ("preferred_output", "non_preferred_output") if k in row]
        return tuple(self.count_texts([prompt, *(answers or ["", ""])]))


def profiled(folder, rows, **options):
    (folder / "source.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    intake = stage(folder / "source.jsonl", folder / "data.jsonl")
    return profile(folder / "data.jsonl", Words(), intake=intake, **options)


def row(prompt, chosen, rejected):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


ROWS = [
    row("Which colour has the sky on a clear day?", "It is blue, for the most part of it.", "Green."),
    row("Which colour has the sky on a clear day?", "It is blue, for the most part of it.", "Green."),
    row("Which colour has the sky on a clear day", "Blue.", "It is painted, as everybody knows."),
    row("Who wrote the book of songs?", "Jane, write to jane@acme.org", "Nobody at all did this."),
    row("Who wrote  the book of SONGS?", "Nobody at all did this.", "Jane, write to jane@acme.org"),
]


def test_a_profile_by_hand(tmp_path):
    found = profiled(tmp_path, ROWS, context_lengths={"small": 13, "large": 100})
    assert (found.format, found.n_rows, found.n_prompts) == ("pairs", 5, 3)
    assert (found.n_duplicates, found.n_near_duplicates, found.n_contradictions) == (1, 1, 2)
    assert found.chosen_longer_share == pytest.approx(3 / 5)
    assert found.tokens.error is None
    assert found.tokens.prompt == TokenStats(mean=7.8, p50=9, p95=9, p99=9, max=9, total=39)
    assert found.tokens.chosen is not None
    assert found.tokens.chosen.total == 9 + 9 + 1 + 4 + 5
    assert found.tokens.longest.max == 18
    assert found.n_over_context == {"small": 3, "large": 0}
    assert {kind: (count.n_rows, count.lines) for kind, count in found.findings.items()} == {
        "Email address": (2, [4, 5])
    }
    assert found.languages == {"en": 1.0}


def test_prompts_have_no_answers_to_count(tmp_path):
    found = profiled(tmp_path, [{"prompt": "Why is the sky blue today?"}, {"prompt": "And why not green, please?"}])
    assert (found.format, found.chosen_longer_share, found.n_contradictions) == ("prompts", None, 0)
    assert (found.tokens.chosen, found.tokens.rejected) == (None, None)
    assert found.tokens.prompt.total == 11


def test_the_json_keys_are_stable(tmp_path):
    value = json.loads(json.dumps(profiled(tmp_path, ROWS).to_json()))
    assert list(value) == [
        "format", "n_rows", "n_prompts", "n_duplicates", "n_near_duplicates", "n_contradictions",
        "chosen_longer_share", "tokens", "n_over_context", "languages", "n_language_rows", "findings", "intake",
    ]  # fmt: skip
    assert list(value["tokens"]) == ["counter", "error", "prompt_error", "prompt", "chosen", "rejected", "longest"]
    assert list(value["tokens"]["prompt"]) == ["mean", "p50", "p95", "p99", "max", "total"]


def test_the_table_says_what_was_done_and_found(tmp_path):
    found = {each["what"]: each["value"] for each in profiled(tmp_path, ROWS, context_lengths={"small": 13}).rows()}
    assert found["rows"] == "5"
    assert found["prompt tokens (exact, words)"] == "mean 7.8, p50 9, p95 9, p99 9, max 9, total 39"
    assert found["rows over the context of small"] == "3"
    assert found["found: Email address"] == "2, lines 4, 5"
    assert found["converted: chosen and rejected text put into messages"] == "5"
    assert found["faults"] == "0"


def test_quantiles_are_values_that_occur():
    counts = np.arange(1, 101, dtype=np.uint32)
    assert TokenStats.of(counts) == TokenStats(mean=50.5, p50=51, p95=96, p99=100, max=100, total=5050)
