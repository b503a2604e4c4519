"""Whether a search drew what it says that it drew: each batch is drawn again from what was known."""

from __future__ import annotations

import math

from blocks.workspace import Workspace
from preference.plan import Plan
from preference.search import Draws, draw_batch, worth
from preference.standings import ScoredAnswer
from preference.trials import Trial
from tasks.search import DRAWS
from tasks.training import TrainedTrial


def draw_differences(workspace: Workspace, plan: Plan | None) -> list[str]:
    """Batches that other scores, or another draw, would have given; nothing for a grid."""
    draws = workspace.read(DRAWS, Draws)
    if plan is None or plan.search is None or draws is None:
        return []
    found: list[str] = []
    drawn: list[Trial] = []
    for number, batch in enumerate(draws.batches, 1):
        for trial in drawn:
            kept, again = batch.known.get(trial.name), _worth(workspace, plan, trial)
            same = kept == again if kept is None or again is None else math.isclose(kept, again, rel_tol=1e-9)
            if not same or trial.name not in batch.known:
                found.append(f"{DRAWS}: batch {number} was told {kept} of {trial.name}; computed again it is {again}")
        if draw_batch(plan.search, plan.trials, drawn, batch.known).trials != batch.trials:
            found.append(f"{DRAWS}: batch {number} is not what is drawn from what it was told")
        drawn += batch.trials
    return found


def _worth(workspace: Workspace, plan: Plan, trial: Trial) -> float | None:
    result = workspace.read(f"trials/{trial.name}/result.json", TrainedTrial)
    if result is None or not result.succeeded:
        return None
    ours, base = (
        [ScoredAnswer.model_validate(line) for line in workspace.lines(f"verdicts/selection-{name}.jsonl")]
        for name in (trial.name, plan.base_of(trial).name)
    )
    return worth(ours, base)
