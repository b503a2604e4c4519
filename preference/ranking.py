"""Several candidates at once: p values corrected for their number, and strengths from comparisons in pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components

from preference.rates import score_array

Floats = NDArray[np.float64]
_POINTS = {"left": 1.0, "tie": 0.5, "right": 0.0}


def holm(p_values: ArrayLike) -> Floats:
    """P values corrected for their number by Holm's step-down (1979), in the order given.

    NaN stays NaN and is not counted: that comparison was not made.
    """
    p = score_array(p_values)
    if np.any((p < 0) | (p > 1)):
        raise ValueError(f"p values lie in [0, 1]; found {p.tolist()}.")
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return adjusted


def bradley_terry(comparisons: pd.DataFrame) -> pd.Series[float]:
    """Strengths that sum to 1, strongest first: i beats j with chance s_i / (s_i + s_j).

    comparisons: columns left, right, outcome ("left", "right" or "tie", a tie half a win each; a missing
    outcome is unread and left out). Maximum likelihood by minorize-maximize (Hunter 2004). Where some won or
    lost all they played against the others no maximum exists: half a tie is then added between all, which keeps
    it finite. Where groups never met, even through others, NaN: nothing says how they compare.
    """
    wins, names = _wins(comparisons)
    met = wins + wins.T
    if connected_components(met, directed=False)[0] > 1:
        return pd.Series(np.nan, index=names, name="strength")
    if connected_components(wins, directed=True, connection="strong")[0] > 1:
        wins = wins + 0.25 * (1 - np.eye(len(names)))
    strengths = pd.Series(_strengths(wins), index=names, name="strength")
    return strengths.sort_values(ascending=False, kind="stable")


def _wins(comparisons: pd.DataFrame) -> tuple[Floats, pd.Index[str]]:
    """wins[i, j]: how often i beat j, a tie half; and the names, sorted."""
    if absent := {"left", "right", "outcome"} - set(comparisons.columns):
        raise ValueError(f"columns left, right and outcome are wanted; {sorted(absent)} are not there.")
    if comparisons[["left", "right"]].isna().any(axis=None):
        raise ValueError("a comparison names only one of its two candidates.")
    read = comparisons.dropna(subset=["outcome"])
    if unknown := sorted(set(read["outcome"]) - set(_POINTS), key=str):
        raise ValueError(f"outcomes are left, right or tie; found {unknown}.")
    names = pd.Index(sorted({*comparisons["left"], *comparisons["right"]}, key=str))
    left, right = names.get_indexer(read["left"]), names.get_indexer(read["right"])
    if np.any(left == right):
        raise ValueError(f"{names[left[left == right][0]]!r} is compared with itself; leave such rows out.")
    points = read["outcome"].map(_POINTS).to_numpy(dtype=np.float64)
    wins = np.zeros((names.size, names.size))
    np.add.at(wins, (left, right), points)
    np.add.at(wins, (right, left), 1 - points)
    return wins, names


def _strengths(wins: Floats, tolerance: float = 1e-12, max_rounds: int = 100_000) -> Floats:
    met, won = wins + wins.T, wins.sum(axis=1)
    strengths = np.full(len(wins), 1.0)
    for _ in range(max_rounds if len(wins) > 1 else 0):
        updated = won / (met / (strengths[:, None] + strengths)).sum(axis=1)
        updated /= updated.sum()
        if np.max(np.abs(updated / strengths - 1)) < tolerance:
            break
        strengths = updated
    return strengths
