"""What a judge's answers are taken for, before any statistics."""

from __future__ import annotations

from blocks.journal import Answer
from preference.judge_plan import JudgeSummary
from preference.labelled import LabelledPair, LabelPool
from tasks.judging import Labels, qualification

JUDGE = JudgeSummary(name="j", model="j", address="http://127.0.0.1:1/v1")


def answer(text: str, **fields) -> Answer:
    return Answer.model_validate(
        {"text": text, "finish_reason": "stop", "prompt_tokens": 9, "completion_tokens": 32, **fields}
    )


def tried(answers: list[Answer | str]):
    messages = [{"role": "user", "content": "?"}]
    pairs = [
        LabelledPair(prompt_id=str(n), messages=messages, better="b" * n, worse="w" * 9)
        for n in range(1, len(answers) // 2 + 1)
    ]
    pool = LabelPool(shorter_better=pairs, longer_better=[], n_shorter_better=len(pairs), n_longer_better=0)
    labels = Labels(source="a test", pool=pool)
    return qualification(JUDGE, labels, "Be right.", pairs, answers, written=False)


def test_a_reply_that_was_cut_short_is_unread_and_says_what_to_do():
    whole = answer('{"reason": "x", "winner": "A"}')
    found = tried([whole, answer('{"reason": "The first ans', finish_reason="length")])
    assert (found.agreement.n, found.unread) == (0, 1.0)
    assert found.troubles[0].startswith(
        "cut short after 32 tokens: give the judge more tokens per verdict (not one JSON"
    )
    assert tried([whole, answer("", thinking_open=True)]).troubles[0].startswith("cut short after 32 tokens")


def test_no_answer_is_unread_and_keeps_its_reason():
    found = tried([answer('{"reason": "x", "winner": "tie"}'), "no answer: RateLimited: 429"])
    assert (found.agreement.n, found.troubles) == (0, ["no answer: RateLimited: 429"])


def test_how_a_judge_was_asked_is_said_where_it_is_not_the_usual_way():
    verdicts = [answer('{"reason": "x", "winner": "A"}'), answer('{"reason": "x", "winner": "B"}')]
    assert not any("does not take" in note for note in tried(verdicts).notes)
    asked = [each.model_copy(update={"adapted": "without a temperature"}) for each in verdicts]
    assert "Its endpoint does not take all that a judge is asked with. It was asked without a temperature." in (
        tried(asked).notes
    )
