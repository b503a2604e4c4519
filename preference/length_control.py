"""The win rate that would be left if both answered at the same length."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from scipy.special import expit, logit
from scipy.stats import t as student

from preference.rates import NAN, WinRate, score_array, unit_scores, win_rate

Floats = NDArray[np.float64]

FEW_PROMPTS = 30  # under it the length term is mostly noise
FEW_OUTCOMES = 5  # wins, or losses, in all
ONE_SIDED = 0.95  # share of prompts on which the same one is longer: equal length was hardly seen
LARGE_MOVE = 0.1  # away from the raw rate


def length_controlled_win_rate(
    scores: ArrayLike,
    candidate_lengths: ArrayLike,
    base_lengths: ArrayLike,
    *,
    difficulty: ArrayLike | None = None,
    confidence: float = 0.95,
) -> WinRate:
    """Win rate with the effect of length taken out (Dubois et al., arXiv:2404.04475, section 3).

    scores: (n_prompts,) as for win_rate; lengths: (n_prompts,), characters or tokens, the same for both;
    difficulty: (n_prompts,), optional. A prompt with anything NaN is unread. Logistic model of the score: theta
    + phi tanh(length difference / its standard deviation) + psi difficulty; the rate is the mean prediction with
    the length term at zero. Firth's penalty in place of the paper's cross-validated one keeps it finite when
    everything is won. Sandwich (HC3) error, Student's t interval on the logit scale. `warning` names what makes
    it unstable. No length difference at all gives the raw rate; the same difference on all prompts, or fewer
    prompts than terms, NaN, since length and quality cannot be told apart.
    """
    columns = [unit_scores(scores), score_array(candidate_lengths), score_array(base_lengths)]
    columns.append(np.zeros_like(columns[0]) if difficulty is None else score_array(difficulty))
    if len({column.shape for column in columns}) > 1:
        raise ValueError(f"the same prompts are wanted everywhere; found {[c.size for c in columns]} of them.")
    judged, ours, theirs, hard = columns
    table = np.column_stack([judged, ours - theirs, hard])
    read = ~np.isnan(table).any(axis=1)
    raw, longer_by, hardness = table[read].T
    plain = replace(win_rate(raw, confidence=confidence), n_unread=int(read.size - read.sum()))
    if plain.n == 0 or not longer_by.any():
        return plain
    design = _design(longer_by, hardness)
    if plain.n <= design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        why = "length and quality cannot be told apart on these prompts"
        return WinRate(NAN, NAN, NAN, NAN, plain.n, plain.n_unread, why)
    rate, error = _at_equal_length(design, raw)
    quantile = float(student.ppf((1 + confidence) / 2, plain.n - design.shape[1]))
    reach = quantile * error / (rate * (1 - rate))
    low, high = float(expit(logit(rate) - reach)), float(expit(logit(rate) + reach))
    return WinRate(rate, low, high, error, plain.n, plain.n_unread, _warning(plain, raw, longer_by, design, rate))


def _design(longer_by: Floats, hardness: Floats) -> Floats:
    """(n_prompts, 2 or 3): constant, length term, and difficulty where it differs."""
    spread = float(longer_by.std(ddof=1)) if longer_by.size > 1 else 0.0
    terms = [np.ones(longer_by.size), np.tanh(longer_by / spread) if spread > 0 else longer_by]
    if np.ptp(hardness) > 0:
        terms.append((hardness - hardness.mean()) / hardness.std())
    return np.column_stack(terms)


def _at_equal_length(design: Floats, scores: Floats) -> tuple[float, float]:
    """The mean prediction with column 1 at zero, and its standard error."""
    weights, leverage, inverse = _fit_firth(design, scores)
    residuals = (scores - expit(design @ weights)) / (1 - leverage)
    sandwich = inverse @ (design.T * residuals**2) @ design @ inverse
    no_residuals = _lopsided(scores) or _mostly_one(scores) or _separated(design, scores)
    covariance = inverse if no_residuals else sandwich  # which measures the error by what residual there is
    equal = design.copy()
    equal[:, 1] = 0.0
    predictions = expit(equal @ weights)
    gradient = (equal.T * predictions * (1 - predictions)).mean(axis=1)
    return float(predictions.mean()), math.sqrt(gradient @ covariance @ gradient)


def _fit_firth(design: Floats, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Weights of a logistic model for scores in [0, 1], the leverages, and the inverse information.

    Firth (1993): each score is moved toward 0.5 by its leverage, which removes the first-order bias.
    """
    weights = np.zeros(design.shape[1])
    for _ in range(200):
        chance = expit(design @ weights)
        variance = chance * (1 - chance)
        inverse = np.linalg.inv((design.T * variance) @ design)
        leverage = variance * np.einsum("ij,jk,ik->i", design, inverse, design)
        step = inverse @ design.T @ (scores - chance + leverage * (0.5 - chance))
        weights = weights + step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-9:
            break
    return weights, leverage, inverse


def _lopsided(scores: Floats) -> bool:
    return bool(min(scores.sum(), scores.size - scores.sum()) < FEW_OUTCOMES)


def _mostly_one(scores: Floats) -> bool:
    return bool(scores.size - np.unique(scores, return_counts=True)[1].max() < FEW_OUTCOMES)


def _separated(design: Floats, scores: Floats) -> bool:
    """Whether some weights tell every win from every loss: then no weights are the best (Albert & Anderson 1984)."""
    sides = np.sign(scores - 0.5)
    signed = (design.T * sides)[:, sides != 0]  # (n_terms, n_decided): weights @ signed > 0 on all of them?
    found = linprog(np.zeros(len(signed)), A_ub=-signed.T, b_ub=-np.ones(signed.shape[1]), bounds=(None, None))
    return bool(found.status == 0)


def _warning(plain: WinRate, scores: Floats, longer_by: Floats, design: Floats, rate: float) -> str | None:
    reasons = []
    if plain.n < FEW_PROMPTS:
        reasons.append(f"only {plain.n} prompts")
    if _lopsided(scores):
        reasons.append("nearly everything was won or lost")
    elif _mostly_one(scores):
        reasons.append("nearly all scores are the same")
    elif _separated(design, scores):
        reasons.append("length tells every win from every loss")
    one_sided = max((longer_by > 0).mean(), (longer_by < 0).mean())
    if one_sided > ONE_SIDED:
        reasons.append(f"the same side is longer on {one_sided:.0%} of the prompts, so equal length is extrapolated")
    if abs(rate - plain.rate) > LARGE_MOVE:
        reasons.append(f"far from the raw rate of {plain.rate:.1%}")
    return "; ".join(reasons) or None
