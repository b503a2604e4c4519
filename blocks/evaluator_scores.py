"""What an evaluator's child process sent back, taken as scores only where it is: nothing in there has a say in that."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from blocks.sandbox import Ended, Limits
from preference.rates import ROUNDING

_MAX_TEXT, _MAX_METRICS = 4000, 64


@dataclass(frozen=True)
class RowScore:
    """One row's score in [0, 1], or why it has none: exactly one of score and error is None."""

    score: float | None
    reason: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    error: str | None = None


def failure_reasons(scores: Iterable[RowScore]) -> list[tuple[str, int]]:
    """Each reason why rows have no score, with its count, the most frequent first."""
    return Counter(score.error for score in scores if score.error).most_common()


def summary(scores: Iterable[RowScore]) -> str:
    reasons = failure_reasons(scores)
    shown = "; ".join(f"{reason} ({count} rows)" if count > 1 else reason for reason, count in reasons[:3])
    return shown + (f"; and {len(reasons) - 3} other reasons" if len(reasons) > 3 else "")


def outcomes_in(message: dict[str, Any], n_rows: int) -> Iterable[tuple[int, Any]]:
    rows, outcomes = message.get("rows"), message.get("outcomes")
    if not isinstance(rows, list) or not isinstance(outcomes, list) or len(rows) != len(outcomes):
        return
    for row, outcome in zip(rows, outcomes, strict=True):
        if type(row) is int and 0 <= row < n_rows:
            yield row, outcome


def row_score(outcome: Any) -> RowScore:
    """An outcome as the child sent it, checked: whatever runs in there has no say in what is a score."""
    if not isinstance(outcome, dict):
        return RowScore(None, error="the evaluator sent back what cannot be read")
    if "error" in outcome:
        return RowScore(None, error=_text(outcome["error"]) or "the evaluator failed without a reason")
    score = outcome.get("score")
    if not isinstance(score, float):  # the harness sends nothing but floats
        return RowScore(None, error=f"the evaluator returned {type(score).__name__} as a score")
    if not math.isfinite(score):
        return RowScore(None, error=f"the evaluator returned {score} as a score")
    if not -ROUNDING <= score <= 1 + ROUNDING:
        return RowScore(None, error=f"the score {score:g} is not between 0 and 1")
    reason = outcome.get("reason")
    metrics = outcome.get("metrics")
    kept = {
        name: value
        for name, value in (list(metrics.items())[:_MAX_METRICS] if isinstance(metrics, dict) else ())
        if isinstance(value, float) and math.isfinite(value)
    }
    return RowScore(min(max(score, 0.0), 1.0), reason=None if reason is None else _text(reason), metrics=kept)


def _text(value: Any) -> str:
    """A text that logs and terminals can be given: bounded, without control characters or halves of pairs."""
    cut = str(value)[:_MAX_TEXT].encode(errors="replace").decode()
    return "".join(character if character.isprintable() or character in "\n\t" else " " for character in cut)


def why_it_ended(ended: Ended | None, limits: Limits) -> str:
    """Why rows are missing, from how the program ended."""
    if ended is None:
        return "the evaluator did not run"
    last = ended.printed.splitlines()[-1][:300] if ended.printed else ""
    tail = f"; it last printed: {last}" if last else ""
    if ended.why:
        return f"{ended.why}, so it was ended{tail}"
    killed = f"signal {-ended.status}" if ended.status < 0 else f"exit status {ended.status}"
    return f"the evaluator's process ended early ({killed}; it may use {limits.memory_mb} MB){tail}"
