"""Answers at a pause: yes and no only where nothing else is said."""

import pytest

from preference.instruction_answers import Intent, read_answer

ANSWERS = {
    "Approved, proceed.": Intent.PROCEED,
    "Yes": Intent.PROCEED,
    "ok go ahead please": Intent.PROCEED,
    "LGTM!": Intent.PROCEED,
    "Looks good to me": Intent.PROCEED,
    "I approve the plan": Intent.PROCEED,
    "That's fine, go on.": Intent.PROCEED,
    "Please proceed with the plan as it is.": Intent.PROCEED,
    "Proceed with the winning config.": Intent.PROCEED,
    "Deploy the winner": Intent.PROCEED,
    "Cancel.": Intent.STOP,
    "no": Intent.STOP,
    "not approved": Intent.STOP,
    "Don't proceed": Intent.STOP,
    "don't deploy": Intent.STOP,
    "I can't approve this": Intent.STOP,
    "never mind": Intent.STOP,
    "reject the plan": Intent.STOP,
    "do not cancel": Intent.UNCLEAR,
    "approve?": Intent.UNCLEAR,
    "hold on": Intent.UNCLEAR,
    "yes and no": Intent.UNCLEAR,
    "Yes, cancel it": Intent.UNCLEAR,
    "yes if it is cheap": Intent.UNCLEAR,
    "why so expensive?": Intent.UNCLEAR,
    "use t3 and t4": Intent.UNCLEAR,
    "": Intent.UNCLEAR,
}
CHANGES = {
    "Use Qwen3 8B instead.": "Use Qwen3 8B instead.",
    "No, use Qwen3 8B instead": "use Qwen3 8B instead",
    "Approved, but use 3 epochs": "use 3 epochs",
    "Approved. Budget $5.": "Budget $5.",
    "Approved up to $10": "Approved up to $10",
    "3 epochs, budget $5": "3 epochs, budget $5",
    "No ORPO please": "No ORPO please",  # not: ORPO please
    "stop early at 70% win rate": "stop early at 70% win rate",
}


@pytest.mark.parametrize(("says", "intent"), ANSWERS.items())
def test_an_answer_means(says, intent):
    assert read_answer(says).intent is intent


@pytest.mark.parametrize(("says", "change"), CHANGES.items())
def test_whatever_asks_for_more_is_a_change(says, change):
    answer = read_answer(says)
    assert (answer.intent, answer.change) == (Intent.CHANGE, change)


@pytest.mark.parametrize(
    ("says", "name"), [("promote t3", "t3"), ("Deploy t2 please", "t2"), ("t4", "t4"), ("Go with t1", "t1")]
)
def test_a_candidate_is_promoted_by_name(says, name):
    assert read_answer(says).form("comparison") == {"decision": "promote", "candidate": name}


def test_an_answer_fits_its_gate():
    assert read_answer("Approved, proceed.").form("plan") == {"decision": "approve"}
    assert read_answer("Approved, proceed.").form("comparison") == {"decision": "continue"}
    assert read_answer("Cancel.").form("plan") == {"decision": "reject"}
    assert read_answer("Cancel.").form("comparison") == {"decision": "stop"}
    assert read_answer("Proceed with the winning config.").form("comparison") == {"decision": "continue"}
    assert read_answer("Proceed with the winning config.").form("plan") is None, "a plan has no winner to approve"
    assert read_answer("Use Qwen3 8B instead.").form("comparison") is None
    assert read_answer("promote t3").form("plan") is None
