"""A sweep's batches: a grid is one; a search draws each from what those before it came to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blocks.workspace import Workspace
from preference.plan import Plan
from preference.search import Draws, draw_batch, worth
from preference.targets import Stopped
from preference.trials import Trial
from tasks.judged_sweep import JudgedSweep
from tasks.progress import say
from tasks.training import NOT_STARTED, STOPPED, TrainedTrial

DRAWS = "search.json"


def batches(workspace: Workspace, plan: Plan, sweep: JudgedSweep) -> Iterator[Sequence[Trial]]:
    """The trials to train next, until all are; sweep must have followed a batch before the next one is asked for.

    A batch is written down before its jobs are asked for, and read back by a session that goes on.
    """
    if plan.search is None:
        yield plan.trials
        return
    draws = workspace.read(DRAWS, Draws) or Draws()
    for number in range(plan.search.n_batches):
        if number == len(draws.batches):
            drawn = draws.trials
            if why := _over(workspace, sweep, drawn):
                for trial in plan.trials[len(drawn) :]:
                    _leave(workspace, sweep, trial, why)
                return
            draws.batches.append(draw_batch(plan.search, plan.trials, drawn, _known(plan, sweep, drawn)))
            workspace.write(DRAWS, draws)
        names = [f"{trial.name}: {trial.label}" for trial in draws.batches[number].trials]
        say(workspace, "sweep", f"batch {number + 1} of {plan.search.n_batches}: {'; '.join(names)}")
        yield draws.batches[number].trials


def _over(workspace: Workspace, sweep: JudgedSweep, drawn: Sequence[Trial]) -> str:
    """Why there is to be no further batch; "" for nothing."""
    if stopped := workspace.read(STOPPED, Stopped):
        return f"stopped early: {stopped.reason}"
    if drawn and not any(sweep.ended[trial.name].succeeded for trial in drawn):
        return f"all {len(drawn)} trials before it have failed"
    return ""


def _known(plan: Plan, sweep: JudgedSweep, drawn: Sequence[Trial]) -> dict[str, float | None]:
    """What each trial was worth; None where it has no model."""
    return {
        trial.name: worth(sweep.measured[trial.name], sweep.measured[plan.base_of(trial).name])
        if sweep.ended[trial.name].succeeded
        else None
        for trial in drawn
    }


def _leave(workspace: Workspace, sweep: JudgedSweep, trial: Trial, why: str) -> None:
    """It was never drawn."""
    result = sweep.ended[trial.name] = TrainedTrial(trial=trial, job_state=NOT_STARTED, message=f"not drawn: {why}")
    workspace.write(f"trials/{trial.name}/result.json", result)
    say(workspace, "sweep", f"{trial.name} was not drawn: {why}", trial=trial.name)
