"""Rates, intervals and corrections: literal cases, laws, and coverage added up over all outcomes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, multinomial

from preference.bounded import _share_below, mean_p_value
from preference.stats import (
    mean_score,
    paired_difference,
    scores_to_outcomes,
    verdict_score,
    wilson_interval,
    win_rate,
)

VALUES = np.array([0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("first", "second", "score"),
    [
        ("A", "B", 1.0),
        ("B", "A", 0.0),
        ("tie", "tie", 0.5),
        ("A", "A", 0.5),  # always the first shown: position, not quality
        ("B", "B", 0.5),
        ("A", "tie", 0.5),
        ("unread", "B", None),
        ("A", None, None),
        (math.nan, "A", None),  # a missing cell of a table
    ],
)
def test_a_prompt_is_won_only_in_both_orders(first, second, score):
    assert verdict_score(first, second) == score


def test_an_unknown_verdict_is_refused():
    with pytest.raises(ValueError, match="'C' is no verdict"):
        verdict_score("A", "C")


def test_scores_become_wins_ties_and_losses():
    outcomes = scores_to_outcomes([0.9, 0.5, 0.1, math.nan, 0.3], [0.2, 0.5, 0.7, 0.1, None])
    assert outcomes == pytest.approx([1, 0.5, 0, math.nan, math.nan], nan_ok=True)


def test_sums_in_another_order_are_a_tie():
    assert scores_to_outcomes([0.1 + 0.2], [0.3]) == [0.5]


def test_without_ties_the_interval_is_clopper_and_pearsons():
    ours = win_rate([1.0] * 14 + [0.0] * 6)
    assert (ours.low, ours.high) == pytest.approx((beta.ppf(0.025, 14, 7), beta.ppf(0.975, 15, 6)), abs=1e-8)
    assert (ours.low, ours.high) == pytest.approx((0.4572, 0.8811), abs=1e-4)  # published tables


def test_ties_shorten_the_interval():
    decided, tied = win_rate([1.0, 0.0] * 10), win_rate([1.0, 0.0] * 3 + [0.5] * 14)
    assert decided.rate == tied.rate == 0.5
    assert tied.high - tied.low < 0.7 * (decided.high - decided.low)


def test_twenty_wins_leave_room_for_a_loss():
    rate = win_rate(np.ones(20))
    assert (rate.rate, rate.high) == (1.0, 1.0)
    assert rate.low == pytest.approx(0.025 ** (1 / 20))  # the rate at which 20 wins in a row are that rare
    assert math.isnan(rate.standard_error)


def test_twenty_ties_leave_room_on_both_sides():
    rate = win_rate([0.5] * 20)
    assert (rate.low, rate.high) == pytest.approx((0.4158, 0.5842), abs=1e-4)


def test_nothing_read_is_nan_not_zero():
    rate = win_rate([None, math.nan])
    assert (rate.n, rate.n_unread) == (0, 2)
    assert all(map(math.isnan, (rate.rate, rate.low, rate.high, rate.standard_error)))


def test_one_prompt_says_almost_nothing():
    rate = win_rate([1.0])
    assert (rate.low, rate.high) == pytest.approx((0.025, 1.0))
    assert math.isnan(rate.standard_error)


def test_unread_is_left_out_and_counted():
    rate = win_rate([1.0, None, 0.0, 1.0, 0.5])
    assert (rate.rate, rate.n, rate.n_unread) == (0.625, 4, 1)
    assert rate.standard_error == pytest.approx(np.std([1, 0, 1, 0.5], ddof=1) / 2)


@pytest.mark.parametrize("scores", [[1.0, 1.0, 0.5, 0.0, 1.0], [0.31, 0.32, 0.9], [1.0], [0.5, 0.5]])
def test_swapping_the_models_mirrors_the_interval(scores):
    ours, theirs = win_rate(scores), win_rate(1 - np.array(scores))
    assert (ours.low, ours.high) == pytest.approx((1 - theirs.high, 1 - theirs.low), abs=1e-7)


def test_the_order_of_prompts_does_not_matter():
    scores = np.random.default_rng(1).choice([0, 0.5, 1], 60)
    assert win_rate(scores).low == pytest.approx(win_rate(np.sort(scores)).low)


@pytest.mark.parametrize(
    "scores",
    [
        (1, None, 0),
        np.array([1, None, 0], dtype=object),
        pd.Series([1, None, 0]),
        pd.Series([1, None, 0], dtype="Int64"),
        [True, pd.NA, False],
    ],
    ids=["tuple", "objects", "floats", "nullable", "NA"],
)
def test_scores_come_as_any_kind_of_list(scores):
    rate = win_rate(scores)
    assert (rate.rate, rate.n, rate.n_unread) == (0.5, 2, 1)


def test_what_rounding_adds_is_no_fault():
    assert win_rate([1 + 1e-12, -1e-12]).rate == 0.5


def test_a_text_is_no_score():
    with pytest.raises(ValueError, match="found the text '1'"):
        win_rate(["1"])


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_is_a_share(confidence):
    with pytest.raises(ValueError, match=r"such as 0\.95"):
        win_rate([1, 0], confidence=confidence)
    with pytest.raises(ValueError, match=r"such as 0\.95"):
        wilson_interval(1, 2, confidence)


def test_scores_outside_0_to_1_are_refused():
    with pytest.raises(ValueError, match=r"scores lie in \[0, 1\]; found 0.2 to 7"):
        mean_score([0.2, 7])


def _outcomes(n):
    """All counts of losses, ties and wins on n prompts, (n_outcomes, 3)."""
    return np.array([(i, j, n - i - j) for i, j in itertools.product(range(n + 1), repeat=2) if i + j <= n])


@pytest.fixture(scope="module")
def intervals_at_20():
    rates = [win_rate(np.repeat(VALUES, counts)) for counts in _outcomes(20)]
    return np.array([(rate.low, rate.high) for rate in rates])


GRID = [(loss / 20, tie / 20) for loss in range(21) for tie in range(21 - loss)]


def test_coverage_at_n_20_is_never_below_95_percent(intervals_at_20):
    outcomes, (low, high) = _outcomes(20), intervals_at_20.T
    for p_loss, p_tie in [*GRID, (0.005, 0), (0.01, 0.02), (0.001, 0.05), (0.02, 0.97)]:
        shares = np.array([p_loss, p_tie, max(0.0, 1 - p_loss - p_tie)])
        truth = VALUES @ shares
        held = (low <= truth + 1e-9) & (truth - 1e-9 <= high)
        assert multinomial.pmf(outcomes, 20, shares / shares.sum())[held].sum() >= 0.95, shares


@pytest.mark.parametrize("shares", [(0.35, 0.3, 0.35), (0.02, 0.02, 0.96), (0.05, 0.9, 0.05), (0.5, 0, 0.5)])
@pytest.mark.parametrize("n", [50, 200])
def test_coverage_at_n_50_and_200_by_simulation(n, shares):
    rng = np.random.default_rng(n)
    truth = float(VALUES @ shares)
    samples = [np.repeat(VALUES, counts) for counts in rng.multinomial(n, shares, 300)]
    held = np.mean([mean_p_value(scores, 0, 1, truth) >= 0.05 for scores in samples])
    assert 0.94 <= held <= 1.0


def test_the_interval_is_not_much_wider_than_a_normal_one():
    rng = np.random.default_rng(7)
    for n, share in ((50, 1.10), (200, 1.06)):
        rates = [win_rate(rng.choice(VALUES, n, p=(0.25, 0.25, 0.5))) for _ in range(30)]
        ours = np.mean([rate.high - rate.low for rate in rates])
        normal = np.mean([2 * 1.96 * rate.standard_error for rate in rates])
        assert normal < ours < share * normal


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=25), st.data())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_better_score_never_lowers_a_bound(scores, data):
    better = list(scores)
    better[data.draw(st.integers(0, len(scores) - 1))] = 1.0
    before, after = win_rate(scores), win_rate(better)
    assert before.low <= before.rate <= before.high
    assert before.low < before.high
    assert after.low >= before.low - 1e-7
    assert after.high >= before.high - 1e-7


@pytest.mark.parametrize(("wins", "n"), [(1, 1), (3, 20), (400, 805), (3, 5000), (4999, 5000)])
@pytest.mark.parametrize("tail", [1e-6, 0.025, 0.6])
def test_the_integral_is_the_beta_tail_where_that_is_known(wins, n, tail):
    rate = beta.ppf(tail, wins, n - wins + 1)
    counts = np.array([n - wins + 1.0, wins])
    assert _share_below(rate, np.array([0.0, 1.0]), counts) == pytest.approx(tail, rel=5e-3)


def test_the_integral_is_the_dirichlet_sum_it_stands_for():
    rng = np.random.default_rng(8)
    scores = np.append(rng.random(15), 0.0)
    sums = rng.dirichlet(np.ones(16), 200_000) @ scores
    for mean in (0.2, 0.4, 0.6):
        assert _share_below(mean, np.sort(scores), np.ones(16)) == pytest.approx(np.mean(sums <= mean), abs=3e-3)


def test_wilson_literal():
    assert wilson_interval(70, 100) == pytest.approx((0.6042, 0.7811), abs=1e-4)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert all(map(math.isnan, wilson_interval(0, 0)))


def test_wilson_refuses_more_wins_than_prompts():
    with pytest.raises(ValueError, match="between 0 and n = 3; found 4"):
        wilson_interval(4, 3)


def test_paired_difference_counts_only_pairs_that_were_read():
    gap = paired_difference([1, 1, 0.5, None, 1], [0, 0.5, 0.5, 0, math.nan])
    assert (gap.mean, gap.n, gap.n_unread) == (0.5, 3, 2)
    assert gap.low < 0.5 < gap.high


def test_ten_wins_of_ten_pairs_have_the_sign_tests_p():
    gap = paired_difference(np.ones(10), np.zeros(10))
    assert gap.p_value == pytest.approx(2 * 0.5**10)
    assert (gap.low, gap.high) == pytest.approx((2 * 0.025**0.1 - 1, 1.0))


def test_equal_scores_say_no_difference_but_not_for_sure():
    gap = paired_difference([0.3] * 30, [0.3] * 30)
    assert (gap.mean, gap.p_value) == (0.0, 1.0)
    assert gap.low < -0.1
    assert gap.high > 0.1


def test_swapping_the_sides_mirrors_the_difference():
    rng = np.random.default_rng(2)
    a, b = rng.random(40), rng.random(40)
    ours, theirs = paired_difference(a, b), paired_difference(b, a)
    assert (ours.low, ours.high) == pytest.approx((-theirs.high, -theirs.low), abs=1e-7)
    assert ours.p_value == pytest.approx(theirs.p_value)


def test_p_value_and_interval_agree():
    rng = np.random.default_rng(3)
    for _ in range(30):
        gap = paired_difference(rng.random(25) + 0.15, rng.random(25))
        assert (gap.p_value < 0.05) == (not gap.low <= 0 <= gap.high)


def test_pairs_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="same prompts on both sides; found 2 and 1"):
        paired_difference([1, 0], [1])


def test_a_confidence_of_95_is_refused():
    with pytest.raises(ValueError, match=r"between 0 and 1 is wanted, such as 0\.95; found 95"):
        win_rate([1, 0], confidence=95)


@pytest.mark.parametrize("bad", [[[1, 0], [0, 1]], [math.inf, 0]])
def test_tables_and_infinities_are_refused(bad):
    with pytest.raises(ValueError, match=r"shape \(2, 2\)|infinite"):
        win_rate(bad)


def test_differences_cover_where_few_prompts_differ():
    """1 % of the prompts change, so most runs see none: Student's t has no width there."""
    rng = np.random.default_rng(9)
    runs = [np.where(rng.random(50) < 0.01, 1.0, 0.0) for _ in range(100)]
    gaps = [paired_difference(run, np.zeros(50)) for run in runs]
    assert np.mean([gap.low <= 0.01 <= gap.high for gap in gaps]) >= 0.95


def few_fail_altogether(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A little better, but 6 % of the answers fail: three samples of 20 in ten have no such answer."""
    b = rng.normal(0.6, 0.05, n)
    return np.where(rng.random(n) < 0.06, 0.0, b + rng.normal(0.04, 0.01, n)), b


def few_are_repaired(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    b = (rng.random(n) < 0.8).astype(float)
    return np.where(rng.random(n) < 0.05, 1.0, b), b


def slightly_better(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    b = rng.beta(4, 2, n)
    return np.clip(b + rng.normal(0.05, 0.2, n), 0, 1), b


def judged_more_often(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.choice(VALUES, n, p=(0.2, 0.3, 0.5)), rng.choice(VALUES, n, p=(0.3, 0.3, 0.4))


@pytest.mark.parametrize("draw", [few_fail_altogether, few_are_repaired, slightly_better, judged_more_often])
@pytest.mark.parametrize("n", [20, 50, 200])
def test_differences_of_scores_in_0_to_1_cover_what_the_sample_may_not_show(draw, n):
    """0.93: within what 200 runs may be off of 95 %. Student's t has 64 % and 16 % in the first two at n = 20."""
    a, b = draw(np.random.default_rng(1), 1_000_000)
    truth, rng = float(np.mean(a - b)), np.random.default_rng([11, n])
    gaps = [paired_difference(*draw(rng, n)) for _ in range(200)]
    assert np.mean([gap.low <= truth <= gap.high for gap in gaps]) >= 0.93


def test_a_rare_loss_that_was_not_drawn_has_its_room():
    gap = paired_difference([0.64] * 20, [0.6] * 20)
    assert gap.low == pytest.approx(0.04 - 1.04 * (1 - 0.025 ** (1 / 20)))  # all the weight that 20 prompts leave open
    assert gap.low < -0.13


def test_differences_of_graded_scores_cover():
    rng = np.random.default_rng(10)
    pairs = [(rng.normal(0.6, 0.2, 40), rng.normal(0.5, 0.2, 40)) for _ in range(100)]
    gaps = [paired_difference(a, b) for a, b in pairs]
    assert np.mean([gap.low <= 0.1 <= gap.high for gap in gaps]) >= 0.93
    assert np.mean([gap.high - gap.low for gap in gaps]) < 1.6 * 2 * 2.02 * 0.2 * math.sqrt(2 / 40)
