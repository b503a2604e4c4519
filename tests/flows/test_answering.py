"""Answers at a pause in plain English, held against the forms that really wait."""

from __future__ import annotations

import pytest

from flows.answering import answer_in_words
from flows.asking import CannotAnswer
from flows.decisions import ComparisonAnswer, JudgeAnswer, PromotionAnswer, SpendingAnswer
from flows.forms import PlanAnswer
from flows.inputs import inputs_form
from flows.runs import Question
from preference.instruction_reading import Question as Missing

FORMS = {
    "plan": PlanAnswer,
    "comparison": ComparisonAnswer,
    "promotion": PromotionAnswer,
    "spending": SpendingAnswer,
    "judge": JudgeAnswer,
}


def waiting(gate: str) -> Question:
    return Question(key=f"{gate}-0a1b2c3d", page="", schema=FORMS[gate].model_json_schema())


def asked(*fields: str) -> Question:
    form = inputs_form([Missing(field=field, text="Which?", words="") for field in fields])
    return Question(key="inputs-0a1b2c3d", page="", schema=form.model_json_schema())


@pytest.mark.parametrize(
    ("gate", "says", "answer"),
    [
        ("plan", "Approved, proceed.", {"decision": "approve"}),
        ("plan", "Use Qwen3 8B instead.", {"decision": "change", "change": "Use Qwen3 8B instead."}),
        ("plan", "Cancel.", {"decision": "reject"}),
        ("comparison", "Proceed with the winning config.", {"decision": "continue"}),
        ("comparison", "Promote t2.", {"decision": "promote", "candidate": "t2"}),
        ("comparison", "Cancel.", {"decision": "stop"}),
        ("promotion", "Proceed with the winning config.", {"decision": "approve"}),
        ("promotion", "No, thanks.", {"decision": "reject"}),
        ("spending", "Approved, proceed.", {"decision": "approve"}),
        ("judge", "Go on.", {"decision": "continue"}),
        ("judge", "Cancel.", {"decision": "stop"}),
    ],
)
def test_an_answer_fills_the_form_that_waits(gate, says, answer):
    assert answer_in_words(waiting(gate), says) == answer


@pytest.mark.parametrize(
    ("gate", "says", "told"),
    [
        ("plan", "Proceed with the winning config.", "no answer to the plan gate"),
        ("plan", "hold on", "was not understood"),
        ("plan", "Is it dear?", "Approved, proceed."),
        ("comparison", "Use Qwen3 8B instead.", "Promote t2."),
        ("promotion", "Promote t2.", "no answer to the promotion gate"),
        ("spending", "Use Qwen3 8B instead.", "no answer to the spending gate"),
        ("judge", "Deploy the winner.", "no answer to the judge gate"),
        ("plan", "token=a1b2c3d4e5f6a7b8c9d0", "looks like a key"),
    ],
)
def test_what_is_no_answer_is_refused_with_what_would_be(gate, says, told):
    with pytest.raises(CannotAnswer, match=told) as refusal:
        answer_in_words(waiting(gate), says)
    assert "Nothing was answered." in str(refusal.value)


@pytest.mark.parametrize(
    ("fields", "says", "answer"),
    [
        (["base_models"], "Yes, a sweep is fine.", {"decision": "go on", "base_models": "Yes, a sweep is fine."}),
        (["sweep.betas"], "0.3", {"decision": "go on", "sweep_betas": "0.3"}),
        (["dataset"], "Use accounts/me/datasets/x.", {"decision": "go on", "dataset": "accounts/me/datasets/x"}),
        (
            ["base_models", "evaluator"],
            "Use Qwen3 8B and evaluator my-rubric.",
            {
                "decision": "go on",
                "base_models": "Use Qwen3 8B and evaluator my-rubric.",
                "evaluator": "my-rubric",
            },
        ),
        (["dataset", "evaluator"], "Cancel.", {"decision": "stop"}),
    ],
)
def test_what_is_missing_is_answered_in_a_sentence(fields, says, answer):
    assert answer_in_words(asked(*fields), says) == answer


@pytest.mark.parametrize(
    ("fields", "says", "told"),
    [
        (["dataset", "evaluator"], "Make it shine.", "“shine”: not understood"),
        (["dataset"], "Use accounts/me/datasets/x for 3 epochs.", "sweep.epochs is not asked for here"),
        (["base_models"], "no", "It asks for base_models"),
        (["base_models", "sweep.betas"], "0.3", "“0.3”: "),
        (["base_models"], "Run SFT.", "not offered"),
    ],
)
def test_what_was_not_asked_is_not_lost_silently(fields, says, told):
    with pytest.raises(CannotAnswer, match=told):
        answer_in_words(asked(*fields), says)
