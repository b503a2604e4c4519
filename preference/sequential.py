"""Bounds that may be looked at after every prompt, so that judging can stop as soon as the answer is known.

Ordinary 95 % intervals looked at again and again are wrong far more often than in 5 % of runs (in about 30 %
when looked at after every 20 of 800 prompts); these hold at all times at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from preference.rates import check_share, unit_scores

Floats = NDArray[np.float64]

# Shares of the capital bet against a mean, and how the capital is spread over them. Any spread is valid; this
# one favours the bets that are best for true rates of 60 to 75 % against 50 %.
_BETS = np.geomspace(0.01, 0.99, 24)
_LOG_WEIGHTS = -0.5 * (np.log(_BETS / 0.3) / 0.7) ** 2
_LOG_WEIGHTS -= logsumexp(_LOG_WEIGHTS)
_MOST_VALUES = 129  # distinct scores; more are rounded, the safe way
_HALVINGS = 24  # of the search for a bound: to 6e-8


def confidence_sequence(scores: ArrayLike, *, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """Lower and upper bounds on the mean after each score: all of them hold at once with chance 1 - alpha.

    scores: (n_prompts,) in [0, 1] in the order judged, which must not depend on the scores; NaN or None is
    unread and leaves the bounds where they are. Returns two arrays (n_prompts,), [0, 1] before anything is read.
    Each side alone errs with chance alpha / 2. Hedged capital by betting (Waudby-Smith & Ramdas,
    arXiv:2010.09686): a mean m is left out once a bettor on more (or on less) than m, who cannot gain in
    expectation where m is true, has multiplied the stake by 2 / alpha.
    """
    check_share(alpha, "alpha", 0.05)
    values = unit_scores(scores)
    read = ~np.isnan(values)
    seen = values[read]
    lower, upper = np.zeros(values.size), np.ones(values.size)
    lower[read] = _lower_bounds(seen, alpha / 2)
    upper[read] = 1 - _lower_bounds(1 - seen, alpha / 2)
    return np.maximum.accumulate(lower), np.minimum.accumulate(upper)


def prompts_until_above(scores: ArrayLike, mean: float, *, alpha: float = 0.05) -> int | None:
    """After how many prompts (read or not) the mean was known to be above `mean`; None where it is not yet.

    The rule of confidence_sequence's lower bound at one-sided level alpha, in one pass. It may be asked after
    every prompt; once it answers, it keeps its answer.
    """
    check_share(alpha, "alpha", 0.05)
    values = unit_scores(scores)
    if not 0 < mean < 1:
        raise ValueError(f"a mean between 0 and 1 is wanted; found {mean:g}.")
    growth = np.log1p(np.outer(np.nan_to_num(values, nan=mean) / mean - 1, _BETS))  # unread: nothing is won
    capital = logsumexp(np.cumsum(growth, axis=0) + _LOG_WEIGHTS, axis=1)
    crossed = np.flatnonzero(capital >= -np.log(alpha))
    return int(crossed[0]) + 1 if crossed.size else None


def _lower_bounds(scores: Floats, alpha: float) -> Floats:
    """For each t the largest m that capital on a mean above m refutes, by bisection for all t at once."""
    if np.unique(scores).size > _MOST_VALUES:
        scores = np.floor(scores * (_MOST_VALUES - 1)) / (_MOST_VALUES - 1)
    values, where = np.unique(scores, return_inverse=True)
    counts = np.cumsum(where[:, None] == np.arange(values.size), axis=0).astype(float)  # (n, n_values)
    low, high = np.zeros(scores.size), np.ones(scores.size)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        refuted = _log_capital(middle, values, counts) >= -np.log(alpha)
        low, high = np.where(refuted, middle, low), np.where(refuted, high, middle)
    return low


def _log_capital(means: Floats, values: Floats, counts: Floats) -> Floats:
    """Log of the bettors' capital after each t, against means[t]; it falls as the mean rises."""
    log_capital = np.empty((means.size, _BETS.size))
    for column, bet in enumerate(_BETS):
        growth = np.log1p(bet * (values / means[:, None] - 1))  # (n, n_values)
        log_capital[:, column] = (counts * growth).sum(axis=1)
    return np.asarray(logsumexp(log_capital + _LOG_WEIGHTS, axis=1))
