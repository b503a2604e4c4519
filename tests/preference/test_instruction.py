"""Plain English to fields: the table in instructions.yaml, and what must hold of every text."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preference.instruction import InstructionRefused, read_instruction
from preference.instruction_models import KnownModel

CASES = yaml.safe_load(Path(__file__).with_name("instructions.yaml").read_text("utf-8"))
CATALOGUE = [
    KnownModel(name=f"accounts/fireworks/models/{name}", display_name=display, tunable=tunable)
    for name, display, tunable in (
        ("qwen3-32b", "Qwen3 32B", True),
        ("qwen3-8b", "Qwen3 8B", True),
        ("qwen3-30b-a3b", "Qwen3 30B A3B", False),
        ("qwen3p5-9b", "Qwen3.5 9B", True),
        ("llama-v3p1-8b-instruct", "Llama 3.1 8B Instruct", True),
        ("llama-v3p3-70b-instruct", "Llama 3.3 70B Instruct", True),
        ("kimi-k2p6", "Kimi K2.6", None),
        ("tiny", "", True),
        ("smollm2-135m-instruct", "SmolLM2 135M Instruct", True),
    )
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["says"][:60])
def test_an_instruction_means(case):
    reading = read_instruction(case["says"])
    assert reading.fields == case["means"]
    assert sorted({q.field for q in reading.questions}) == case.get("asks", [])
    assert [r.words for r in reading.refused] == case.get("refuses", [])
    assert [u.words for u in reading.not_understood] == case.get("unread", [])
    text = " ".join(case["says"].split())
    for one in reading.understood:
        assert all(words in text for words in one.words.split(" … ")), "shown in the user's own words"


@pytest.mark.parametrize(
    ("says", "where"),
    [
        ("Schedule this every Monday at 9am.", "preference-learning-weekly"),
        ("Email me when done.", "prefworks notify"),
        ("Run everything on the local server.", "Platform"),
        ("Remove the duplicates first.", "always left out"),
        ("Take s3://bucket/prefs.jsonl.", "a file on this machine"),
        ("Make it good.", "not understood"),
        ("What would it cost on the platform?", "a question"),
        ("Merge accounts/fireworks/models/mine.", "none of it is done"),
    ],
)
def test_what_is_set_elsewhere_says_where(says, where):
    [unread] = read_instruction(says).not_understood
    assert where in unread.why


def test_there_are_enough_cases():
    assert len({case["says"] for case in CASES}) >= 150


CLAUSES = [
    ("rank 8", {"sweep.lora_ranks": [8]}),
    ("LoRA ranks 8 and 16", {"sweep.lora_ranks": [8, 16]}),
    ("8, 16 and 32 as LoRA ranks", {"sweep.lora_ranks": [8, 16, 32]}),
    ("3 epochs", {"sweep.epochs": [3]}),
    ("epochs 1 and 2", {"sweep.epochs": [1, 2]}),
    ("train for two epochs", {"sweep.epochs": [2]}),
    ("lr 1e-5", {"sweep.learning_rates": [1e-5]}),
    ("learning rates of 1e-5 and 5e-5", {"sweep.learning_rates": [1e-5, 5e-5]}),
    ("a learning rate of 0.0001", {"sweep.learning_rates": [1e-4]}),
    ("beta 0.1", {"sweep.betas": [0.1]}),
    ("betas 0.1, 0.3", {"sweep.betas": [0.1, 0.3]}),
    ("use beta=0.2", {"sweep.betas": [0.2]}),
    ("under $5", {"budget_usd": 5}),
    ("budget of 10 USD", {"budget_usd": 10}),
    ("spend at most twenty dollars", {"budget_usd": 20}),
    ("budget: $7", {"budget_usd": 7}),
    ("hold out 30%", {"held_out_share": 0.3}),
    ("a 70/30 split", {"held_out_share": 0.3}),
    ("20% held out", {"held_out_share": 0.2}),
    ("up to 10 jobs in parallel", {"max_active_jobs": 10}),
    ("4 jobs at once", {"max_active_jobs": 4}),
    ("at most two concurrent jobs", {"max_active_jobs": 2}),
    ("stop early at 75% win rate", {"target_win_rate": 0.75, "stop_at_target": True}),
    ("a win rate above 70%", {"target_win_rate": 0.7}),
    ("target win rate 0.65", {"target_win_rate": 0.65}),
    ("use Qwen3 8B", {"base_models": ["Qwen3 8B"]}),
    ("Qwen3 8B and Qwen3 32B", {"base_models": ["Qwen3 8B", "Qwen3 32B"]}),
    ("tune Llama 3.1 8B", {"base_models": ["Llama 3.1 8B"]}),
    ("sweep base models", {"base_models": []}),
    ("run DPO", {"methods": ["DPO"]}),
    ("DPO and ORPO", {"methods": ["DPO", "ORPO"]}),
    ("ORPO", {"methods": ["ORPO"]}),
    ("on accounts/a/datasets/b", {"dataset": "accounts/a/datasets/b"}),
    ("with dataset accounts/a/datasets/b", {"dataset": "accounts/a/datasets/b"}),
    ("train on prefs.jsonl", {"dataset": "prefs.jsonl"}),
    ("accounts/a/datasets/h as the eval dataset", {"held_out": "accounts/a/datasets/h"}),
    ("evaluate on held.jsonl", {"held_out": "held.jsonl"}),
    ("with evaluator accounts/a/evaluators/e", {"evaluator": "accounts/a/evaluators/e"}),
    ("judged by accounts/a/evaluators/e", {"evaluator": "accounts/a/evaluators/e"}),
    ("batch size 8", {"sweep.batch_size": 8}),
    ("context length 4096", {"sweep.max_context_length": 4096}),
    ("temperature 0.7", {"sampling.temperature": 0.7}),
    ("no early stopping", {"stop_at_target": False}),
    ("auto-approve up to $3", {"auto_approve_up_to_usd": 3}),
    ("generate preference pairs automatically", {"pairs.generate": True}),
    ("successive halving", {"strategy": "halving"}),
]
JOINTS = (", ", " and ", "; ", ". ", ", and ", " with ", " ")


@pytest.mark.parametrize("seed", range(40))
def test_clauses_mean_the_same_in_any_company(seed):
    chance = random.Random(seed)
    clauses = chance.sample(CLAUSES, 3)
    together = [field for _, fields in clauses for field in fields]
    if len(set(together)) < 3 or {"held_out", "held_out_share"} <= set(together) or "stop_at_target" in together:
        clauses = clauses[:1]  # they contradict each other, or need each other
    text = clauses[0][0] + "".join(chance.choice(JOINTS) + clause for clause, _ in clauses[1:])
    reading = read_instruction(text)
    assert reading.fields == {field: value for _, fields in clauses for field, value in fields.items()}, text
    assert reading.clear, text


@pytest.mark.parametrize("case", CASES[::7], ids=lambda case: case["says"][:60])
def test_an_unknown_sentence_changes_nothing_and_is_listed(case):
    before = read_instruction(case["says"])
    after = read_instruction(case["says"].rstrip(". ") + ". Bananas ripen quickly.")
    if "rubric" not in before.fields:
        assert after.fields == before.fields
    assert "Bananas ripen quickly" in [u.words for u in after.not_understood]


@pytest.mark.parametrize(
    ("says", "name"),
    [
        ("Use Qwen3 32B.", "qwen3-32b"),
        ("use qwen3-32b", "qwen3-32b"),
        ("Use Qwen 3 32B", "qwen3-32b"),
        ("Use Quen3 32B", "qwen3-32b"),
        ("Use QWEN3_32B", "qwen3-32b"),
        ("tune qwen3.5 9b", "qwen3p5-9b"),
        ("Use Qwen3p5-9B", "qwen3p5-9b"),
        ("Use Llama 3.1 8B", "llama-v3p1-8b-instruct"),
        ("Use Lama 3.1 8B", "llama-v3p1-8b-instruct"),
        ("Use llama-3.3-70b-instruct", "llama-v3p3-70b-instruct"),
        ("Use Kimi K2.6", "kimi-k2p6"),
        ("Use SmolLM2 135M", "smollm2-135m-instruct"),
        ("base model tiny", "tiny"),
    ],
)
def test_letters_of_a_model_may_be_wrong(says, name):
    assert read_instruction(says, CATALOGUE).fields == {"base_models": [f"accounts/fireworks/models/{name}"]}


@pytest.mark.parametrize(
    "says", ["Use Qwen3 33B", "Use Qwen2 32B", "Use Qwen3.6 9B", "Use Llama 3.2 8B", "Use Kimi K2.5"]
)
def test_digits_of_a_model_may_not(says):
    assert read_instruction(says, CATALOGUE).fields == {"base_models": [says.removeprefix("Use ")]}


def test_a_base_that_cannot_be_tuned_is_refused_with_the_nearest():
    reading = read_instruction("Sweep Qwen3 32B and Qwen3-30B-A3B with beta 0.1 and 0.3.", CATALOGUE)
    assert reading.refused[0].words == "Qwen3-30B-A3B"
    assert "The nearest that can: accounts/fireworks/models/qwen3-32b" in reading.refused[0].text


@pytest.mark.parametrize(
    "key",
    [
        "fw_" + "3ZnbYh2aBcDeFgHiJkLmNoPq",
        "sk-proj-" + "abcdefghijklmnopqrstuvwxyz0123",
        "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH",
        "api key: 0123456789abcdef0123456789abcdef",
        "token=a1b2c3d4e5f6a7b8c9d0",
    ],
)
def test_a_key_is_refused_and_not_repeated(key):
    with pytest.raises(InstructionRefused, match="looks like a key") as error:
        read_instruction(f"Run DPO on accounts/a/datasets/b with {key}.")
    assert key.split()[-1].split("=")[-1] not in str(error.value)


def test_a_very_long_text_is_refused():
    with pytest.raises(InstructionRefused, match="at most 8,000"):
        read_instruction("Use Qwen3 8B. " * 1000)


def test_orders_within_a_rubric_are_asked_about():
    reading = read_instruction("Judge by: prefer the shorter answer, and train for 3 epochs.")
    assert [q.field for q in reading.questions] == ["rubric"]
    assert "3 epochs" in reading.questions[0].text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from([word for case in CASES for word in case["says"].split()]), max_size=14))
def test_no_row_of_words_breaks_it(words):
    text = " ".join(words)
    reading = read_instruction(text)
    assert all(u.value is not None or u.field == "budget_usd" for u in reading.understood)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_no_text_breaks_it(text):
    read_instruction(text)
