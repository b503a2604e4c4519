"""What a human cannot overrule at the comparison, and what the confirmation may take back."""

from __future__ import annotations

from preference.comparison import compare_halves, why_not_promoted
from preference.standings import Comparison, Contestant, ScoredAnswer

CONTESTANTS = [
    Contestant(name=name, label="untouched" if name == "base" else "a trial", model=name)
    for name in ("base", "t1", "t2", "t3")
]
LEFT = "not judged further after 10 of 20 prompts: it cannot catch up with t1"


def answer(name: str, i: int, score: float) -> ScoredAnswer:
    """t2 says the same to all prompts; t3 was left out half-way."""
    left_out = name == "t3" and i >= 10
    return ScoredAnswer(
        prompt_id=str(i),
        prompt="p",
        text="the same" if name == "t2" else f"{name} on {i}",
        score=None if left_out else score + i % 3 / 100,
        left_out=left_out,
        reason=LEFT if left_out else "",
    )


def compared(confirmed: float) -> Comparison:
    at = {"base": 0.1, "t1": 0.8, "t2": 0.9, "t3": 0.2}

    def given(contestants, part):
        scores = {**at, "t1": confirmed} if part == "confirmation" else at
        return {c.name: [answer(c.name, i, scores[c.name]) for i in range(20)] for c in contestants}

    return compare_halves(CONTESTANTS, given, has_confirmation=True)


def test_a_flag_blocks_a_promotion_also_by_name():
    found = compared(confirmed=0.8)
    assert (found.proposed, found.clear) == ("t1", True)  # not t2, whose score is the best
    assert why_not_promoted(found, "t2") == (
        "t2 is flagged (one and the same answer to all 20 prompts), and nothing flagged is promoted"
    )
    assert why_not_promoted(found, "t1") == ""


def test_who_was_only_left_out_may_be_promoted_by_name():
    found = compared(confirmed=0.8)
    [left] = [s for s in found.candidates if s.contestant.name == "t3"]
    assert (left.flags, left.blocked) == ([LEFT], [])
    assert why_not_promoted(found, "t3") == ""


def test_a_lead_that_is_not_there_on_the_prompts_that_confirm_is_no_clear_winner():
    found = compared(confirmed=0.1)
    assert (found.proposed, found.clear) == ("t1", False)
    assert found.reasons[0] == "t1 does not beat its opponent on the prompts that confirm: +0.00 [-0.17, +0.17]"
