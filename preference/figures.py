"""The report's pictures, as PNG: win rates with their intervals, training curves, answer lengths.

Drawn on Figure objects, without pyplot: it keeps global state, and several runs may share a process.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from preference.health import series
from preference.standings import Comparison, Estimate, ScoredAnswer

MAX_LEGEND = 12  # trials; with more of them names would hide the curves
DPI = 100
GREY = "#777777"


def win_rates_figure(comparison: Comparison) -> bytes:
    """One row a candidate, best on top: its win rate on the selection prompts, and the headline's beside it."""
    shown = [s for s in comparison.candidates if s.win_rate is not None and s.win_rate.value is not None]
    figure, axes = _canvas(height=1.4 + 0.42 * max(len(shown), 1))
    names = [f"{s.contestant.name}: {s.contestant.label}" for s in shown]
    for row, standing in enumerate(shown):
        assert standing.win_rate is not None
        _interval(axes, standing.win_rate, row, "tab:blue", "o", "selection" if row == 0 else None)
        top = comparison.headline
        if top is not None and top.confirmed and top.candidate == standing.contestant.name:
            _interval(axes, top.win_rate, row + 0.22, "tab:orange", "D", "confirmation")
    axes.axvline(50, color=GREY, linewidth=1, linestyle="--")
    axes.set_yticks(range(len(shown)), names)
    axes.invert_yaxis()
    axes.set_xlim(-2, 102)
    axes.set_xlabel("win rate against the base, %, with 95 % intervals")
    axes.grid(axis="x", alpha=0.3)
    if shown:
        figure.legend(loc="outside upper center", ncols=2)
    return _png(figure)


def training_curves_figure(trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Loss and pair accuracy by optimizer step, a line a trial; trials: metrics in order, by the trial's name."""
    figure = Figure(figsize=(9, 3.6), dpi=DPI, layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    colours = colormaps["tab10" if len(trials) <= 10 else "viridis"]
    for number, (name, metrics) in enumerate(trials.items()):
        colour = colours(number if len(trials) <= 10 else number / len(trials))
        for axes, keys in ((loss, ("dpo_loss", "orpo_loss", "loss", "train/loss")), (accuracy, ("accuracy",))):
            steps, values = _curve(metrics, *keys)
            axes.plot(steps, values, color=colour, linewidth=1.4, label=name)
    loss.set_ylabel("loss")
    accuracy.set_ylabel("share of pairs told apart")
    accuracy.set_ylim(-0.03, 1.03)
    for axes in (loss, accuracy):
        axes.set_xlabel("optimizer step")
        axes.grid(alpha=0.3)
    if len(trials) <= MAX_LEGEND:
        accuracy.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return _png(figure)


def lengths_figure(base: Sequence[ScoredAnswer], tuned: Sequence[ScoredAnswer], candidate: str) -> bytes:
    """One dot a prompt: words of the base's answer against the candidate's, by who scored higher."""
    figure, axes = _canvas(width=5.6, height=4.6)
    longest = 1
    for outcome, colour in (("won", "tab:green"), ("tied", GREY), ("lost", "tab:red"), ("not scored", "black")):
        chosen = [(b, t) for b, t in zip(base, tuned, strict=True) if outcome_of(b, t) == outcome]
        if not chosen:
            continue
        across, up = ([len(answer.text.split()) for answer in side] for side in zip(*chosen, strict=True))
        longest = max(longest, *across, *up)
        axes.scatter(across, up, s=26, alpha=0.7, color=colour, label=f"{outcome}: {len(chosen)}")
    axes.plot([0, longest], [0, longest], color=GREY, linewidth=1, linestyle="--")
    axes.set_xlabel("words of the base's answer")
    axes.set_ylabel(f"words of {candidate}'s answer")
    axes.grid(alpha=0.3)
    axes.legend(title=f"{candidate} against the base")
    return _png(figure)


def outcome_of(base: ScoredAnswer, tuned: ScoredAnswer) -> str:
    """How the tuned answer did on this prompt; an answer without a score is neither a tie nor a loss."""
    if base.score is None or tuned.score is None:
        return "not scored"
    if tuned.score == base.score:
        return "tied"
    return "won" if tuned.score > base.score else "lost"


def _curve(metrics: Sequence[Mapping[str, Any]], *keys: str) -> tuple[list[float], list[float]]:
    """Steps and values of the lines that have both."""
    points = [(series([line], "step", "train/step"), series([line], *keys)) for line in metrics]
    both = [(step[0], value[0]) for step, value in points if step and value]
    return [step for step, _ in both], [value for _, value in both]


def _interval(axes: Axes, found: Estimate, row: float, colour: str, marker: str, label: str | None) -> None:
    assert found.value is not None
    low, high = (found.value if bound is None else bound for bound in (found.low, found.high))
    reach = [[100 * (found.value - low)], [100 * (high - found.value)]]
    axes.errorbar(
        100 * found.value, row, xerr=reach, color=colour, marker=marker, capsize=3, linestyle="none", label=label
    )


def _canvas(width: float = 9.0, height: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure, figure.subplots()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})  # the same picture is the same bytes
    return buffer.getvalue()
