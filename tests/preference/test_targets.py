"""When a sweep may stop, who is judged no further, and when a target is met."""

import numpy as np
import pytest
from pydantic import ValidationError

from preference.comparison import compare
from preference.settings import PreferenceRequest
from preference.standings import Contestant, Estimate, Headline, ScoredAnswer
from preference.targets import Target, established, hopeless, left_out, verdict

BASE = Contestant(name="base", label="b, untouched", model="b")
T1, T2, T3 = (Contestant(name=f"t{n}", label=f"t{n}", model=f"m{n}") for n in (1, 2, 3))


def scored(name: str, scores, same: bool = False) -> list[ScoredAnswer]:
    return [
        ScoredAnswer(prompt_id=str(i), prompt="?", text="same" if same else f"{name} {i}", score=float(s))
        for i, s in enumerate(scores)
    ]


def test_a_target_is_a_win_rate_a_score_or_both():
    request = PreferenceRequest(dataset="d", evaluator="e", target_win_rate=0.75, target_score=0.5)
    assert Target.of(request).text() == "a win rate of 75 % and a score of 0.5"
    assert Target.of(PreferenceRequest(dataset="d", evaluator="e")) is None
    with pytest.raises(ValidationError, match="stop_at_target needs a target"):
        PreferenceRequest(dataset="d", evaluator="e", stop_at_target=True)
    with pytest.raises(ValidationError, match="less than 1"):
        PreferenceRequest(dataset="d", evaluator="e", target_win_rate=70)


def test_a_target_is_established_when_it_is_known_and_not_when_it_is_merely_seen():
    answers = {"base": scored("base", [0.2] * 32), "t1": scored("t1", [0.9] * 32), "t2": scored("t2", [0.9] * 4)}
    target = Target(win_rate=0.7)
    assert established(target, T1, "base", answers, 6)
    assert not established(target, T2, "base", {**answers, "base": answers["base"][:4]}, 6)
    assert not established(Target(win_rate=0.7, score=0.95), T1, "base", answers, 6)


def test_the_correction_for_the_number_of_trials_asks_for_more():
    answers = {"base": scored("base", [0.2] * 16), "t1": scored("t1", [0.9] * 16)}
    assert established(Target(win_rate=0.7), T1, "base", answers, 1)
    assert not established(Target(win_rate=0.7), T1, "base", answers, 60)


def test_collapsed_answers_never_reach_a_target_nor_lead():
    answers = {
        "base": scored("base", [0.2] * 32),
        "t1": scored("t1", [1.0] * 32, same=True),
        "t2": scored("t2", [0.6] * 32),
    }
    assert not established(Target(win_rate=0.7), T1, "base", answers, 6)
    assert hopeless(answers, [T1, T2], 6) == {}


def test_false_alarms_at_a_true_rate_of_the_target_are_rare_over_six_candidates():
    """Six equal candidates at exactly the target, each looked at in blocks: at most 5 % of sweeps stop."""
    rng = np.random.default_rng(11)
    base = scored("base", [0.5] * 48)
    alarms = 0
    for _ in range(100):
        sweep = {f"t{n}": scored(f"t{n}", rng.choice([0.0, 1.0], 48, p=[0.3, 0.7])) for n in range(6)}
        alarms += any(
            established(
                Target(win_rate=0.7), T1.model_copy(update={"name": name}), "base", {"base": base, name: got}, 6
            )
            for name, got in sweep.items()
        )
    assert alarms <= 5


def test_who_cannot_catch_up_is_left_out_and_close_ones_are_not():
    answers = {
        "base": scored("base", [0.2] * 32),
        "t1": scored("t1", [0.9] * 32),
        "t2": scored("t2", [0.0] * 16),
        "t3": scored("t3", [0.85] * 16),
    }
    assert hopeless(answers, [T1, T2, T3], 6) == {"t2": "t1"}


def test_a_candidate_judged_on_a_part_stands_last_and_says_why():
    prompts = [(str(i), "?") for i in range(32)]
    easy = [1.0] * 16  # of the first prompts alone it would have the higher mean
    answers = {
        "base": scored("base", [0.2] * 32),
        "t1": scored("t1", [1.0] * 16 + [0.3] * 16),
        "t2": left_out(scored("t2", easy), prompts, "t1"),
    }
    found = compare([BASE, T1, T2], answers)
    assert [s.contestant.name for s in found.candidates] == ["t1", "t2"]
    assert found.proposed == "t1"
    [flag] = found.candidates[1].flags
    assert flag == "not judged further after 16 of 32 prompts: it cannot catch up with t1"
    assert found.candidates[1].n_failed == 0


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.71, 0.9, "met"), (0.5, 0.69, "not met"), (0.6, 0.8, "not established")]
)
def test_met_or_not_is_decided_by_the_bounds_of_the_confirmation_half(low, high, word):
    rate = Estimate(value=(low + high) / 2, low=low, high=high, n=40)
    shown = Headline(candidate="t1", confirmed=True, base=rate, tuned=rate, difference=rate, win_rate=rate)
    assert f"**Target (a win rate of 70 %): {word}.**" in verdict(Target(win_rate=0.7), shown)
    flattered = verdict(Target(win_rate=0.7), shown.model_copy(update={"confirmed": False}))
    assert "measured on the prompts that also chose it" in flattered


def test_without_a_candidate_a_target_is_not_met():
    assert "There is no candidate" in verdict(Target(score=0.5), None)
