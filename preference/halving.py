"""Successive halving on training data: all trials on a quarter of the pairs, the best half on a half, its best on all.

Each rung trains anew from the base: a warm start would change DPO's reference, which is the model it starts from.
Rungs are ranked by the evaluation on the selection prompts, since training metrics rank poorly near the top.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from preference.session import resource
from preference.settings_sweep import Strategy
from preference.trials import Trial

SHARES = (0.25, 0.5)  # of the pairs, a rung each; then all of them. Eta 2 from a quarter
FEWEST_TRIALS = 4
FEWEST_PAIRS = 32  # so that a quarter is a few optimizer steps
MOST_FOR_GRID = 6  # trials up to which the whole grid is the default: there is little to save


def rungs_for(
    strategy: Strategy, n_trials: int, n_pairs: int, *, explicit: bool, makes_pairs: bool
) -> tuple[float, ...]:
    """The shares of the rungs before the full training; none: the whole grid. Raises ValueError where it cannot be.

    Automatic: the grid for few trials and for any grid that the request spells out.
    """
    if strategy in (Strategy.GRID, Strategy.TPE):
        return ()
    fits = n_trials >= FEWEST_TRIALS and n_pairs >= FEWEST_PAIRS and not makes_pairs
    if strategy is Strategy.HALVING:
        if not fits:
            still = ", yet to be made" if makes_pairs else ""
            raise ValueError(
                f"strategy halving needs at least {FEWEST_TRIALS} trials and {FEWEST_PAIRS} training pairs that are "
                f"there already; here are {n_trials} trials and {n_pairs} pairs{still}. "
                "Take strategy grid."
            )
        return SHARES
    return SHARES if fits and not explicit and n_trials > MOST_FOR_GRID else ()


def n_kept(n: int) -> int:
    return math.ceil(n / 2)


def at_rung(session: str, trial: Trial, rung: int, share: float) -> Trial:
    """The trial on a share of the pairs: a job of its own, under a name of its own."""
    name = f"{trial.name}-r{rung}"
    return trial.model_copy(update={"name": name, "share": share, "job_id": resource(session, name)})


def rung_jobs(session: str, trials: Sequence[Trial], shares: Sequence[float]) -> list[Trial]:
    """All jobs that rungs may start, whoever gets that far."""
    return [at_rung(session, trial, n, share) for n, share in enumerate(shares, 1) for trial in trials]


def priced_jobs(session: str, trials: Sequence[Trial], shares: Sequence[float]) -> list[Trial]:
    """As many jobs a rung as there will be. Who gets on is not known: the ones with most epochs are priced."""
    left, jobs = sorted(trials, key=lambda t: -t.epochs), []
    for n, share in enumerate(shares, 1):
        jobs += [at_rung(session, trial, n, share) for trial in left]
        left = left[: n_kept(len(left))]
    return [*jobs, *left] if shares else list(trials)


def halving_text(n_trials: int, shares: Sequence[float]) -> str:
    """What is done and what it saves, in full trainings."""
    left, steps, total = n_trials, [], 0.0
    for share in shares:
        steps.append(f"{left} trials on {share:.0%} of the pairs")
        total += left * share
        left = n_kept(left)
    total += left
    return (
        f"Successive halving: {', '.join(steps)}, the best {left} on all, each trained anew: "
        f"{total:g} full trainings instead of {n_trials} ({1 - total / n_trials:.0%} less), and more models to "
        "evaluate."
    )


def part_of(lines: Sequence[bytes], share: float) -> list[bytes]:
    """The share of the rows with the smallest hashes, in their order: each rung's rows are among the next one's."""
    n = math.ceil(share * len(lines))
    chosen = sorted(range(len(lines)), key=lambda i: hashlib.sha256(lines[i]).digest())[:n]
    return [lines[i] for i in sorted(chosen)]
