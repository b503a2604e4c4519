"""What the statistics promise, measured: coverage, false alarms, and how soon judging may stop.

python -m benchmarks.stats   (two minutes; fixed seeds; the usual method stands beside ours)
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm
from scipy.stats import t as student

from preference.judging import choose
from preference.stats import (
    length_controlled_win_rate,
    paired_difference,
    prompts_until_above,
    wilson_interval,
    win_rate,
)

Floats = NDArray[np.float64]
Interval = tuple[float, float]
VALUES = np.array([0.0, 0.5, 1.0])
SCORES = {  # shares of lost, tied, won
    "even, no ties": (0.5, 0.0, 0.5),
    "even, 30 % ties": (0.35, 0.3, 0.35),
    "70 %, 20 % ties": (0.2, 0.2, 0.6),
    "90 % ties": (0.04, 0.9, 0.06),
    "95 %, no ties": (0.05, 0.0, 0.95),
    "99 %, some ties": (0.005, 0.01, 0.985),
}


def _students_t(scores: Floats) -> Interval:
    half = student.ppf(0.975, scores.size - 1) * scores.std(ddof=1) / np.sqrt(scores.size)
    return float(scores.mean() - half), float(scores.mean() + half)


@functools.cache
def _intervals(lost: int, tied: int, won: int) -> dict[str, Interval]:
    scores = np.repeat(VALUES, (lost, tied, won))
    ours = win_rate(scores)
    return {
        "win_rate": (ours.low, ours.high),
        "wilson": wilson_interval(won + tied / 2, scores.size),
        "student t": _students_t(scores),
    }


def coverage_of_win_rates(rng: np.random.Generator, n_runs: int = 2000) -> pd.DataFrame:
    """Share of intervals that hold the true rate, in %, and their half-widths in points."""
    rows = []
    for label, shares in SCORES.items():
        truth = float(VALUES @ shares)
        for n in (20, 50, 200):
            runs = [_intervals(*counts) for counts in rng.multinomial(n, shares, n_runs).tolist()]
            row: dict[str, object] = {"scores": label, "n": n}
            for method in ("win_rate", "wilson", "student t"):
                bounds = np.array([run[method] for run in runs])
                held = np.mean((bounds[:, 0] <= truth) & (truth <= bounds[:, 1]))
                row[method] = f"{held:6.1%}  ±{50 * np.mean(bounds[:, 1] - bounds[:, 0]):4.1f}"
            rows.append(row)
    return pd.DataFrame(rows)


def coverage_of_differences(rng: np.random.Generator, n_runs: int = 200) -> pd.DataFrame:
    """The same for the mean of a - b on the same prompts."""

    def judged(n: int) -> tuple[Floats, Floats]:
        return rng.choice(VALUES, n, p=(0.2, 0.3, 0.5)), rng.choice(VALUES, n, p=(0.3, 0.3, 0.4))

    def passed(n: int) -> tuple[Floats, Floats]:  # a differs from b on few prompts
        b = (rng.random(n) < 0.8).astype(float)
        return np.where(rng.random(n) < 0.05, 1.0, b), b

    def graded(n: int) -> tuple[Floats, Floats]:
        b = rng.beta(4, 2, n)
        return np.clip(b + rng.normal(0.05, 0.2, n), 0, 1), b

    def brittle(n: int) -> tuple[Floats, Floats]:  # a little better, but 6 % of the answers fail altogether
        b = rng.normal(0.6, 0.05, n)
        return np.where(rng.random(n) < 0.06, 0.0, b + rng.normal(0.04, 0.01, n)), b

    cases: dict[str, Callable[[int], tuple[Floats, Floats]]] = {
        "judged": judged,
        "passed, 5 % repaired": passed,
        "graded": graded,
        "graded, 6 % fail": brittle,
    }
    rows = []
    for label, draw in cases.items():
        a, b = draw(2_000_000)
        truth = float(np.mean(a - b))
        for n in (20, 50, 200):
            held, widths = np.zeros(2), np.zeros(2)
            for _ in range(n_runs):
                a, b = draw(n)
                ours = paired_difference(a, b)
                for i, (low, high) in enumerate([(ours.low, ours.high), _students_t(a - b)]):
                    held[i] += low <= truth <= high
                    widths[i] += high - low
            shown = [f"{h:6.1%}  ±{50 * w:4.1f}" for h, w in zip(held / n_runs, widths / n_runs, strict=True)]
            rows.append({"scores": label, "n": n, "paired_difference": shown[0], "student t": shown[1]})
    return pd.DataFrame(rows)


def coverage_at_equal_length(rng: np.random.Generator, n_runs: int = 300) -> pd.DataFrame:
    """Length-controlled rates where the truth is known: a judge whom length moves by phi on the logit scale."""
    rows = []
    for theta, phi, longer_by in ((0.0, 0.0, 0.0), (0.0, 1.5, 0.0), (0.0, 1.5, 1.0), (0.8, 1.0, 0.5)):
        truth, held, raw, controlled = float(expit(theta)), 0, 0.0, 0.0
        for _ in range(n_runs):
            gap = rng.normal(longer_by, 1, 100)
            won = rng.random(100) < expit(theta + phi * np.tanh(gap / gap.std(ddof=1)))
            rate = length_controlled_win_rate(won, 1000 + 100 * gap, np.full(100, 1000.0))
            held += rate.low <= truth <= rate.high
            raw, controlled = raw + won.mean() / n_runs, controlled + rate.rate / n_runs
        rows.append(
            {
                "phi": phi,
                "longer by, sd": longer_by,
                "raw": f"{raw:.1%}",
                "controlled": f"{controlled:.1%}",
                "true": f"{truth:.1%}",
                "coverage, n = 100": f"{held / n_runs:.1%}",
            }
        )
    return pd.DataFrame(rows)


def stopping(rng: np.random.Generator, n_runs: int = 1000, n_prompts: int = 800) -> pd.DataFrame:
    """Looks after each of 800 prompts whether 50 % is left out (two-sided, 5 %), beside ordinary intervals."""
    rows = []
    for label, shares in {
        "50 %": (0.5, 0.0, 0.5),
        "50 %, 40 % ties": (0.3, 0.4, 0.3),
        "60 %": (0.4, 0.0, 0.6),
        "65 %": (0.35, 0.0, 0.65),
        "70 %": (0.3, 0.0, 0.7),
        "70 %, 40 % ties": (0.1, 0.4, 0.5),
    }.items():
        runs = rng.choice(VALUES, (n_runs, n_prompts), p=shares)
        sides = np.array([_sides(scores) for scores in runs])
        stops, truth_above = sides.min(axis=1), shares[2] > shares[0]
        rows.append(
            {
                "true rate": label,
                "decided": f"{np.mean(np.isfinite(stops)):.1%}",
                "median stop": f"{np.median(stops):.0f}" if np.isfinite(np.median(stops)) else "never",
                "wrong side": f"{np.mean(sides[:, 1] < sides[:, 0]):.1%}" if truth_above else "",
                "ordinary, every 20": f"{_peeking(runs):.1%}",
            }
        )
    return pd.DataFrame(rows)


def _sides(scores: Floats) -> tuple[float, float]:
    """When the rate was known to be above 50 %, and when below; infinite for never."""
    above, below = (prompts_until_above(side, 0.5, alpha=0.025) for side in (scores, 1 - scores))
    return above or np.inf, below or np.inf


def _peeking(runs: Floats, every: int = 20) -> float:
    """Share of runs in which a 95 % normal interval, looked at after every 20 prompts, ever leaves 50 % out."""
    n = np.arange(1, runs.shape[1] + 1)
    mean = np.cumsum(runs, axis=1) / n
    error = np.sqrt(np.maximum(np.cumsum(runs**2, axis=1) / n - mean**2, 1e-12) / n)
    out = np.abs(mean - 0.5) > norm.ppf(0.975) * error
    return float(out[:, every - 1 :: every].any(axis=1).mean())


def clear_winners(rng: np.random.Generator, n_runs: int = 200, n: int = 100) -> pd.DataFrame:
    """How often the best is called a clear winner on 100 prompts, and what its rate looks like."""
    even, good = SCORES["even, 30 % ties"], SCORES["70 %, 20 % ties"]
    rows = []
    for label, truth in {
        "1 even": [even],
        "6 even": [even] * 6,
        "2 at 70 %": [good] * 2,
        "6 at 70 %": [good] * 6,
        "2 at 70 %, 4 even": [good] * 2 + [even] * 4,
        "1 at 70 %": [good],
        "1 at 70 %, 1 even": [good, even],
        "1 at 70 %, 5 even": [good] + [even] * 5,
    }.items():
        clear, shown = 0, 0.0
        for _ in range(n_runs):
            choice = choose({f"t{i}": rng.choice(VALUES, n, p=shares) for i, shares in enumerate(truth)})
            clear += choice.clear
            shown += choice.standings[0].win_rate.rate / n_runs
        right = truth.count(good) == 1
        rows.append(
            {
                "candidates": label,
                "called clear": f"{clear / n_runs:.1%}",
                "which is": "right" if right else "a false alarm",
                "best one shows": f"{shown:.1%}",
            }
        )
    return pd.DataFrame(rows)


def tables() -> Iterator[tuple[str, pd.DataFrame]]:
    rng = np.random.default_rng(20250101)
    yield "Win rate: coverage of 95 % intervals, half-width in points", coverage_of_win_rates(rng)
    yield "Paired difference: coverage, half-width in points", coverage_of_differences(rng)
    yield "Win rate at equal length", coverage_at_equal_length(rng)
    yield "Stopping: 1 000 runs of 800 looks (to reach: 50 % decided <= 5 %, 70 % by 50, 65 % by 100)", stopping(rng)
    yield "Clear winners, 100 prompts, several candidates against one opponent", clear_winners(rng)


def main() -> None:
    start = time.perf_counter()
    for title, table in tables():
        print(f"\n{title}\n{table.to_string(index=False)}")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
