"""How far off the plans of past sessions were, so that the next one says how much to trust it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from pydantic import BaseModel

from preference.cost import CostLine


class EstimateError(BaseModel):
    """One line of the plan over past sessions: actual over estimated, the median; None where there is none to tell."""

    what: str
    usd_ratio: float | None = None
    n_usd: int = 0  # sessions whose estimate and actual cost are known and not 0
    time_ratio: float | None = None
    n_time: int = 0


def estimate_errors(past: Iterable[tuple[Sequence[CostLine], Sequence[CostLine]]]) -> list[EstimateError]:
    """past: for each session its plan's lines and what they came to (preference.plan.actual_lines).

    A line that did not take place, or that cost something unknown, says nothing; neither does one that is free.
    """
    usd: dict[str, list[float]] = {}
    time: dict[str, list[float]] = {}
    for planned, actual in past:
        came_to = {line.what: line for line in actual}
        for line in planned:
            real = came_to.get(line.what)
            if real is None:
                continue
            if line.usd and real.usd is not None:
                usd.setdefault(line.what, []).append(real.usd / line.usd)
            if line.seconds > 0 and real.seconds > 0:
                time.setdefault(line.what, []).append(real.seconds / line.seconds)
    return [
        EstimateError(
            what=what,
            usd_ratio=median(usd[what]) if what in usd else None,
            n_usd=len(usd.get(what, [])),
            time_ratio=median(time[what]) if what in time else None,
            n_time=len(time.get(what, [])),
        )
        for what in dict.fromkeys([*usd, *time])
    ]


def errors_text(errors: Iterable[EstimateError]) -> list[str]:
    """A sentence a line: how many times its estimate it came to, and in how many sessions that was seen."""
    found = []
    for error in errors:
        parts = []
        if error.usd_ratio is not None:
            parts.append(f"cost {error.usd_ratio:.2g} × its estimate ({_sessions(error.n_usd)})")
        if error.time_ratio is not None:
            parts.append(f"took {error.time_ratio:.2g} × the time ({_sessions(error.n_time)})")
        found.append(f"{error.what} {' and '.join(parts)}")
    return found


def _sessions(n: int) -> str:
    return f"{n} session" if n == 1 else f"{n} sessions"
