"""Rates, means and differences over prompts: each with its interval and its n, nothing known that was not seen.

Scores are arrays over prompts, in [0, 1]; NaN or None is unread, left out and counted. One prompt is one
observation, whatever the number of verdicts on it, since those are not independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pandas import NA
from scipy.stats import norm

from preference.bounded import mean_interval, mean_p_value

Floats = NDArray[np.float64]
Verdict = Literal["A", "B", "tie", "unread"]  # A is the completion shown first
NAN = float("nan")
ROUNDING = 1e-9


@dataclass(frozen=True)
class WinRate:
    """Share of prompts won, a tie half. `warning` says why the number may mislead, where it may."""

    rate: float
    low: float
    high: float
    standard_error: float
    n: int  # prompts read
    n_unread: int = 0
    warning: str | None = None


@dataclass(frozen=True)
class MeanScore:
    mean: float
    low: float
    high: float
    standard_error: float
    n: int
    n_unread: int = 0


@dataclass(frozen=True)
class Difference:
    """Mean of a - b over the prompts where both were read."""

    mean: float
    low: float
    high: float
    standard_error: float
    p_value: float  # two-sided, against a mean of 0
    n: int
    n_unread: int = 0


def verdict_score(first: Verdict | None, second: Verdict | None) -> float | None:
    """The candidate's score on one prompt, judged in both orders.

    first: the verdict where the candidate was shown first (A is the candidate); second: where it was shown
    second (B is the candidate). 1 won both, 0 lost both, 0.5 tied or flipped, None where either is unread or missing.
    """
    for verdict in (first, second):
        if not _is_missing(verdict) and verdict not in get_args(Verdict):
            raise ValueError(f"{verdict!r} is no verdict: use A, B, tie or unread.")
    if any(_is_missing(verdict) or verdict == "unread" for verdict in (first, second)):
        return None
    if (first, second) == ("A", "B"):
        return 1.0
    return 0.0 if (first, second) == ("B", "A") else 0.5


def scores_to_outcomes(candidate_scores: ArrayLike, opponent_scores: ArrayLike) -> Floats:
    """Per prompt 1 where the candidate scores above the opponent, 0.5 equal, 0 below, NaN where one is NaN.

    Both (n_prompts,), on the same prompts in the same order, on any scale. Differences under 1e-9 are equal.
    """
    gap = _gaps(candidate_scores, opponent_scores)
    outcomes = np.where(np.abs(gap) < ROUNDING, 0.5, (gap > 0).astype(float))
    return np.where(np.isnan(gap), NAN, outcomes)


def win_rate(scores: ArrayLike, *, confidence: float = 0.95) -> WinRate:
    """Mean score of the candidate against its opponent, with an interval.

    scores: (n_prompts,), each over both orders: 1 won, 0.5 tied, 0 lost, NaN or None unread.
    Gaffke's interval (see preference.bounded): exact binomial without ties, shorter with them, never of zero
    width; one prompt won gives [0.025, 1]. No prompt read: NaN throughout, since unknown is not zero.
    The standard error is NaN where the scores do not differ: no spread was seen, which does not mean none.
    """
    mean = mean_score(scores, confidence=confidence)
    return WinRate(mean.mean, mean.low, mean.high, mean.standard_error, mean.n, mean.n_unread)


def mean_score(scores: ArrayLike, *, confidence: float = 0.95) -> MeanScore:
    """Mean of an evaluator's scores in [0, 1], (n_prompts,), with the interval and NaN rules of win_rate."""
    values = unit_scores(scores)
    read = values[~np.isnan(values)]
    mean = float(read.mean()) if read.size else NAN
    low, high = mean_interval(read, 0.0, 1.0, confidence)
    return MeanScore(mean, low, high, _standard_error(read), read.size, values.size - read.size)


def wilson_interval(wins: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) for wins of n, a tie half a win; NaN for n = 0.

    The usual one, to compare with other tools: it takes ties for spread they do not have, and near 0 and 1 it
    covers less than it says. win_rate's interval does neither.
    """
    check_share(confidence, "confidence", 0.95)
    if not 0 <= wins <= n:
        raise ValueError(f"wins must lie between 0 and n = {n}; found {wins}.")
    if n == 0:
        return NAN, NAN
    z2 = float(norm.ppf((1 + confidence) / 2)) ** 2
    centre = (wins + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (wins * (n - wins) / n + z2 / 4)) / (n + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_difference(a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95) -> Difference:
    """Mean of a - b on the same prompts (Miller, arXiv:2411.00640, section 4), with interval and p value.

    a, b: (n_prompts,); a prompt counts where both are read. Gaffke's interval for differences that may be as large
    as 1 either way, as they are between scores in [0, 1] (or as the largest one seen, on another scale); the p value
    inverts it. In simulations it covers 95 % and more at n = 20, 50 and 200: wins and losses, few prompts that differ,
    graded scores, and a rare great loss of which the sample may have no instance. That is what its width is for: 1 to
    1.1 times Student's t for verdicts, but for graded scores that differ by about 0.2 a prompt 2.2 times at n = 20, 1.7
    at 50 and 1.3 at 200, and more for smaller differences. Student's t and the bootstraps (BCa, t) are narrower there,
    and with a rare great loss cover 64 % at n = 20, since most of what they would have to know was not drawn.
    On another scale than [0, 1] nothing bounds what was not seen, and such a loss is covered no better than by those.
    """
    gaps = _gaps(a, b)
    read = gaps[~np.isnan(gaps)]
    n_unread = gaps.size - read.size
    if read.size == 0:
        return Difference(NAN, NAN, NAN, NAN, NAN, 0, n_unread)
    largest = max(1.0, float(np.abs(read).max()))
    low, high = mean_interval(read, -largest, largest, confidence)
    p_value = mean_p_value(read, -largest, largest, 0.0)
    return Difference(float(read.mean()), low, high, _standard_error(read), p_value, read.size, n_unread)


def difference_from_tie(scores: ArrayLike, *, confidence: float = 0.95) -> Difference:
    """win_rate less 0.5, with its p value: scores judged against an opponent, (n_prompts,), NaN unread."""
    rate = win_rate(scores, confidence=confidence)
    values = unit_scores(scores)
    p_value = mean_p_value(values[~np.isnan(values)], 0.0, 1.0, 0.5)
    low, high = rate.low - 0.5, rate.high - 0.5
    return Difference(rate.rate - 0.5, low, high, rate.standard_error, p_value, rate.n, rate.n_unread)


def score_array(values: ArrayLike) -> Floats:
    """values as floats, (n_prompts,), with None and pandas' NA as NaN. A text is no number."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        array = np.asarray(values, dtype=object)
        if texts := [value for value in array.flat if isinstance(value, (str, bytes))]:
            raise ValueError(f"numbers are wanted; found the text {texts[0]!r}.")
        array = np.where(np.vectorize(_is_missing, otypes=[bool])(array), NAN, array)
    array = array.astype(np.float64)
    if array.ndim != 1:
        raise ValueError(f"one number a prompt is wanted, of shape (n_prompts,); found shape {array.shape}.")
    if np.isinf(array).any():
        raise ValueError("a score is infinite; mark what could not be scored as NaN.")
    return array


def unit_scores(values: ArrayLike) -> Floats:
    """score_array for what must lie in [0, 1], but for what rounding adds to a sum of parts."""
    scores = score_array(values)
    read = scores[~np.isnan(scores)]
    if read.size and (read.min() < -ROUNDING or read.max() > 1 + ROUNDING):
        raise ValueError(f"scores lie in [0, 1]; found {read.min():g} to {read.max():g}. Rescale them first.")
    return np.clip(scores, 0.0, 1.0)


def check_share(value: float, name: str, example: float) -> None:
    """Refuse what is not a chance between 0 and 1, both left out."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, such as {example}; found {value:g}.")


def _is_missing(value: object) -> bool:
    """None, NaN, or pandas' NA, which is not equal to anything either."""
    return value is None or value is NA or value != value


def _gaps(a: ArrayLike, b: ArrayLike) -> Floats:
    left, right = score_array(a), score_array(b)
    if left.shape != right.shape:
        raise ValueError(f"pairs need the same prompts on both sides; found {left.size} and {right.size}.")
    return left - right


def _standard_error(read: Floats) -> float:
    spread = float(read.std(ddof=1)) if read.size > 1 else 0.0
    return spread / math.sqrt(read.size) if spread > 0 else NAN
