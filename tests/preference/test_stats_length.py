"""The win rate at equal length."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit

from preference.stats import length_controlled_win_rate, win_rate


def test_two_lengths_by_hand():
    """Longer by 100 on 40 prompts, 30 won; shorter by 100 on 40, 16 won. Two groups, two terms: each group's
    fitted rate is its own, (wins + 1/2) / (n + 1) by Firth's penalty, and equal length lies midway in logits."""
    scores = np.repeat([1, 0, 1, 0], [30, 10, 16, 24])
    lengths = np.repeat([600, 400], 40)
    rate = length_controlled_win_rate(scores, lengths, np.full(80, 500))
    assert rate.rate == pytest.approx(expit((logit(30.5 / 41) + logit(16.5 / 41)) / 2), abs=1e-7)
    assert rate.low < rate.rate < rate.high
    assert (rate.n, rate.n_unread, rate.warning) == (80, 0, None)


def test_without_a_length_difference_it_is_the_raw_rate():
    scores = [1, 0, 0.5, 1, None]
    assert length_controlled_win_rate(scores, [9] * 5, [9] * 5) == win_rate(scores)


def test_a_judge_who_takes_the_longer_is_seen_through():
    rng = np.random.default_rng(1)
    gap = rng.normal(120, 100, 400)
    scores = (rng.random(400) < expit(1.5 * np.tanh(gap / gap.std(ddof=1)))).astype(float)
    rate = length_controlled_win_rate(scores, 500 + gap, np.full(400, 500))
    assert win_rate(scores).low > 0.6
    assert rate.low < 0.5 < rate.high
    assert "far from the raw rate" in rate.warning


def test_swapping_the_models_mirrors_it():
    rng = np.random.default_rng(2)
    scores = rng.choice([0, 0.5, 1], 60, p=(0.2, 0.3, 0.5))
    ours, theirs, difficulty = rng.integers(50, 900, 60), rng.integers(50, 900, 60), rng.normal(size=60)
    forth = length_controlled_win_rate(scores, ours, theirs, difficulty=difficulty)
    back = length_controlled_win_rate(1 - scores, theirs, ours, difficulty=difficulty)
    assert (forth.rate, forth.low) == pytest.approx((1 - back.rate, 1 - back.high))


def test_it_covers_the_rate_that_length_hides():
    rng, held = np.random.default_rng(3), 0
    for _ in range(100):
        gap = rng.normal(0.5, 1, 100)
        scores = rng.random(100) < expit(0.8 + np.tanh(gap / gap.std(ddof=1)))
        rate = length_controlled_win_rate(scores, 1000 + 100 * gap, np.full(100, 1000.0))
        held += rate.low <= expit(0.8) <= rate.high
    assert held >= 0.92 * 100


def test_difficulty_explains_what_length_does_not():
    rng = np.random.default_rng(4)
    difficulty = rng.normal(size=300)
    gap = 100 * difficulty + rng.normal(0, 30, 300)  # longer on hard prompts, and better there
    scores = rng.random(300) < expit(2 * difficulty)
    plain = length_controlled_win_rate(scores, 500 + gap, np.full(300, 500))
    informed = length_controlled_win_rate(scores, 500 + gap, np.full(300, 500), difficulty=difficulty)
    truth = expit(2 * difficulty).mean()
    assert informed.low < truth < informed.high
    assert informed.standard_error != pytest.approx(plain.standard_error)


def test_all_won_stays_finite_and_is_warned_of():
    lengths = np.arange(40) * 10
    rate = length_controlled_win_rate(np.ones(40), lengths, np.full(40, 200))
    assert 0.9 < rate.rate < 1.0
    assert 0.5 < rate.low < 0.9
    assert rate.warning == "nearly everything was won or lost"


def test_always_longer_is_warned_of():
    rng = np.random.default_rng(5)
    rate = length_controlled_win_rate(rng.choice([0.0, 1.0], 50), 900 + rng.integers(0, 500, 50), np.full(50, 300))
    assert "the same side is longer on 100% of the prompts" in rate.warning


def test_the_same_difference_everywhere_cannot_be_told_from_quality():
    rate = length_controlled_win_rate(np.ones(40), np.full(40, 300), np.full(40, 200))
    assert math.isnan(rate.rate)
    assert math.isnan(rate.low)
    assert rate.n == 40
    assert rate.warning == "length and quality cannot be told apart on these prompts"


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_prompts_are_nan(n):
    rate = length_controlled_win_rate(np.ones(n), np.arange(n) + 1, np.zeros(n))
    assert math.isnan(rate.rate)


def test_a_missing_length_makes_a_prompt_unread():
    rng = np.random.default_rng(6)
    lengths = [*rng.integers(10, 90, 38), None, None]
    rate = length_controlled_win_rate([0.0, 1.0] * 20, lengths, [50] * 40)
    assert (rate.n, rate.n_unread) == (38, 2)


def test_unequal_sides_are_refused():
    with pytest.raises(ValueError, match=r"same prompts are wanted everywhere; found \[2, 2, 2, 1\]"):
        length_controlled_win_rate([1, 0], [3, 4], [1, 2], difficulty=[1])


def test_all_ties_leave_room_on_both_sides():
    rate = length_controlled_win_rate(np.full(40, 0.5), np.arange(40), np.full(40, 20))
    assert rate.rate == pytest.approx(0.5)
    assert rate.low < 0.42
    assert rate.high > 0.58
    assert rate.warning == "nearly all scores are the same"


def test_where_length_tells_all_nothing_is_known_at_equal_length():
    """Every longer answer won, every shorter one lost: equal length may lie on either side of the step."""
    rate = length_controlled_win_rate([1] * 20 + [0] * 20, [90] * 20 + [10] * 20, [50] * 40)
    assert (rate.low, rate.high) == pytest.approx((0.109, 0.891), abs=1e-3)
    assert rate.warning == "length tells every win from every loss"


def test_one_length_is_not_stretched_over_all_prompts():
    with pytest.raises(ValueError, match=r"same prompts are wanted everywhere; found \[2, 1, 2, 2\]"):
        length_controlled_win_rate([1, 0], [3], [1, 2])
