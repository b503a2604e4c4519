"""Bounds that may be looked at after every prompt."""

from __future__ import annotations

import math

import numpy as np
import pytest

from preference.stats import confidence_sequence, prompts_until_above


def _stop(scores):
    """After how many prompts 0.5 is left out on either side, at 5 % in all."""
    sides = [prompts_until_above(side, 0.5, alpha=0.025) for side in (scores, 1 - scores)]
    return min((stop for stop in sides if stop), default=math.inf)


def _runs(p_win, n_runs, p_tie=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.choice([0.0, 0.5, 1.0], (n_runs, 800), p=(1 - p_win - p_tie, p_tie, p_win))


@pytest.mark.parametrize("p_tie", [0.0, 0.4])
def test_false_alarms_over_800_looks_at_even_odds(p_tie):
    stops = [_stop(scores) for scores in _runs((1 - p_tie) / 2, 300, p_tie)]
    assert np.mean(np.isfinite(stops)) <= 0.05


@pytest.mark.parametrize(("p_win", "most"), [(0.70, 50), (0.65, 100), (0.30, 50)])
def test_a_clear_rate_stops_early(p_win, most):
    assert np.median([_stop(scores) for scores in _runs(p_win, 150)[:, :300]]) <= most


def test_the_true_rate_stays_inside_at_all_times():
    for truth, seed in ((0.5, 1), (0.9, 2), (0.99, 3)):
        held = 0
        for scores in _runs(truth, 5, seed=seed)[:, :150]:
            lower, upper = confidence_sequence(scores)
            held += bool(np.all((lower <= truth) & (truth <= upper)))
        assert held == 5


def test_the_bounds_close_in_and_never_open_again():
    lower, upper = confidence_sequence(_runs(0.7, 1)[0])
    assert np.all(np.diff(lower) >= 0)
    assert np.all(np.diff(upper) <= 0)
    assert np.all(lower <= upper)
    assert lower[-1] > 0.6
    assert upper[-1] - lower[-1] < 0.12  # Wilson's at 800: 0.064


def test_both_ways_to_stop_agree():
    for scores in _runs(0.65, 4, p_tie=0.1, seed=4)[:, :300]:
        lower, _ = confidence_sequence(scores, alpha=0.05)
        assert prompts_until_above(scores, 0.5, alpha=0.025) == np.flatnonzero(lower >= 0.5)[0] + 1


def test_swapping_the_models_mirrors_the_sequence():
    scores = _runs(0.6, 1, p_tie=0.2)[0, :60]
    lower, upper = confidence_sequence(scores)
    mirrored_lower, mirrored_upper = confidence_sequence(1 - scores)
    assert lower == pytest.approx(1 - mirrored_upper)
    assert upper == pytest.approx(1 - mirrored_lower)


def test_unread_leaves_the_bounds_where_they_are():
    lower, upper = confidence_sequence([None, 1.0, 1.0, math.nan, 1.0])
    assert (lower[0], upper[0]) == (0.0, 1.0)
    assert lower[3] == lower[2] < lower[4]
    assert prompts_until_above([1.0, math.nan] * 20, 0.5) == 2 * prompts_until_above([1.0] * 20, 0.5) - 1


def test_a_run_of_wins_bounds_the_rate_from_below_only():
    lower, upper = confidence_sequence(np.ones(100))
    assert 0.9 < lower[-1] < 1.0
    assert upper[-1] == 1.0


def test_many_distinct_scores_are_rounded_the_safe_way():
    scores = np.random.default_rng(5).random(200)
    lower, upper = confidence_sequence(scores)
    assert lower[-1] < scores.mean() < upper[-1]
    known = prompts_until_above(scores, 0.35, alpha=0.025)  # unrounded
    assert known <= np.flatnonzero(lower > 0.35)[0] + 1


def test_nothing_judged_gives_nothing():
    lower, upper = confidence_sequence([])
    assert (lower.size, upper.size) == (0, 0)
    assert prompts_until_above([], 0.5) is None


def test_an_impossible_mean_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1 is wanted; found 1"):
        prompts_until_above([1.0], 1.0)


@pytest.mark.parametrize("alpha", [0, 1, 5, math.nan])
def test_a_level_is_a_share(alpha):
    with pytest.raises(ValueError, match=r"such as 0\.05"):
        confidence_sequence([1.0, 0.0], alpha=alpha)
