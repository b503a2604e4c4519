"""The example's evaluator and data: what a good answer scores, and that nothing degenerate does."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "concise"
QUESTION = "Tell me about a waterfall."


def _load():
    spec = importlib.util.spec_from_file_location("concise", EXAMPLE / "evaluator" / "concise.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


concise = _load()


def score(answer: str, question: str = QUESTION) -> float:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    result = concise.evaluate(messages=messages, ground_truth=None)
    assert result["is_score_valid"]
    return result["score"]


@pytest.mark.parametrize(
    "answer",
    [
        "A waterfall is a place where a river falls over a steep cliff.",
        "Waterfalls are streams of water that drop from a height into a pool below!",
    ],
)
def test_a_short_finished_statement_about_the_topic_scores_one(answer):
    assert score(answer) == 1.0


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "empty"),
        ("...", "no words"),
        ("A waterfall.", "says nothing"),
        ("Tell me about a waterfall.", "the question's own words"),
        ("What is it about a waterfall that you tell me?", "the question again"),
        ("A waterfall is a waterfall is a waterfall is a waterfall.", "a loop"),
        ("waterfall water river cliff stone height pool.", "word salad"),
        ("A waterfall is a place where a river falls over a", "cut off"),
        ("A hammer is a tool that people use to drive nails into wood.", "another topic"),
        ("I am happy to help you with anything you need today.", "one text for every question"),
        ("waterfall " * 12 + ".", "one word"),
    ],
)
def test_nothing_degenerate_scores(answer, why):
    assert score(answer) == 0.0, why


def test_the_score_falls_with_length_and_never_rises():
    sentence = "A waterfall is a place where a river falls over a cliff"
    scores = [
        score(
            sentence
            + " "
            + " ".join(f"past{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10]} and" for i in range(n))
            + " on."
        )
        for n in (0, 5, 10, 15, 20, 30)
    ]
    assert scores[0] == 1.0
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] == 0.0


def test_a_conversation_without_an_answer_has_no_valid_score():
    result = concise.evaluate(messages=[{"role": "user", "content": QUESTION}])
    assert result["is_score_valid"] is False


def _rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (EXAMPLE / name).read_text(encoding="utf-8").splitlines()]


def test_the_example_has_pairs_enough_and_no_prompt_in_both_files():
    train, held_out = _rows("train.jsonl"), _rows("held_out.jsonl")
    prompts = [[row["input"]["messages"][-1]["content"] for row in rows] for rows in (train, held_out)]
    assert 100 <= len(train) <= 150
    assert len(held_out) >= 60
    assert len(set(prompts[0])) == len(train)
    assert len(set(prompts[1])) == len(held_out)
    assert not set(prompts[0]) & set(prompts[1])


@pytest.mark.parametrize("name", ["train.jsonl", "held_out.jsonl"])
def test_the_evaluator_prefers_what_the_data_prefers(name):
    pairs = [
        [row[side][0]["content"] for side in ("preferred_output", "non_preferred_output")]
        + [row["input"]["messages"][-1]["content"]]
        for row in _rows(name)
    ]
    better = [score(chosen, question) >= score(rejected, question) for chosen, rejected, question in pairs]
    assert sum(better) / len(better) > 0.95
