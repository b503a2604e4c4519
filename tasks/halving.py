"""Rungs of successive halving: who is not among the better half is not trained on more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from prefect import unmapped

from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from preference.comparison import flags_of, scores_of
from preference.halving import at_rung, n_kept, part_of
from preference.plan import Plan
from preference.session import resource
from preference.splits import HeldOutPrompt, Split
from preference.standings import Contestant
from preference.trials import Trial
from tasks.comparing import Measure, contestants_of
from tasks.judged_sweep import JudgedSweep
from tasks.progress import say
from tasks.slots import Slots
from tasks.training import NOT_STARTED, TrainedTrial, sweep_slots, train_trial


class Halving:
    """The rungs before the full training. What ends here has its result, with the reason."""

    def __init__(
        self,
        platform: FireworksPlatform,
        workspace: Workspace,
        plan: Plan,
        measure: Measure,
        selection: Sequence[HeldOutPrompt],
    ) -> None:
        self._platform = platform
        self._workspace = workspace
        # a rung's model is never the one that ships, so that it neither meets a target nor stops the sweep
        no_target = {"target_win_rate": None, "target_score": None, "stop_at_target": False}
        self._plan = plan.model_copy(update={"request": plan.request.model_copy(update=no_target)})
        self._measure = measure
        self._selection = selection

    def slots(self, rung: int, alive: Sequence[Trial]) -> Slots:
        jobs = [self._at(trial, rung) for trial in alive]
        return sweep_slots(self._workspace, jobs, self._plan.request.max_active_jobs)

    def climb(self, rung: int, alive: Sequence[Trial], split: Split, slots: Slots) -> list[Trial]:
        """Train and judge one rung (1 is the first); gives who goes on, in the plan's order."""
        jobs = {self._at(trial, rung).name: trial for trial in alive}
        plan = self._plan.model_copy(update={"trials": [self._at(trial, rung) for trial in alive]})
        futures = train_trial.map(
            unmapped(self._platform),
            unmapped(self._workspace),
            plan.trials,
            unmapped(self._dataset(rung, split)),
            unmapped(slots),
        )
        sweep = JudgedSweep(self._workspace, plan, self._measure, self._selection, confirms=False)
        results = sweep.follow(plan.trials, futures, slots)
        candidates = [c for c in contestants_of(plan, results) if c.name in jobs]
        ranked = sorted(candidates, key=lambda c: (*_worth(sweep, c), c.name))
        kept = {jobs[c.name].name for c in ranked[: n_kept(len(alive))]}
        places = {c.name: n for n, c in enumerate(ranked, 1)}
        for result in results:
            trial = jobs[result.trial.name]
            if trial.name in kept:
                continue
            share = f"{result.trial.share:.0%} of the pairs"
            why = (
                f"left out after {share}: place {places[result.trial.name]} of {len(alive)} on the selection prompts"
                if result.trial.name in places
                else f"failed on {share}: {result.message}"
            )
            self._end(trial, why)
        return [trial for trial in alive if trial.name in kept]

    def _at(self, trial: Trial, rung: int) -> Trial:
        return at_rung(self._workspace.session, trial, rung, self._plan.rungs[rung - 1])

    def _dataset(self, rung: int, split: Split) -> str:
        """The rung's share of the training rows as a dataset of its own; its full name."""
        rows = part_of(split.train.read_bytes().splitlines(keepends=True), self._plan.rungs[rung - 1])
        path = self._workspace.write_bytes(f"dataset/rung-{rung}.jsonl", b"".join(rows))
        with self._platform.get_client(self._workspace.session) as client:
            name = resource(self._workspace.session, f"train-r{rung}")
            return client.ensure_dataset(name, path, example_count=len(rows)).name

    def _end(self, trial: Trial, why: str) -> None:
        result = TrainedTrial(trial=trial, job_state=NOT_STARTED, message=why)
        self._workspace.write(f"trials/{trial.name}/result.json", result)
        say(self._workspace, "sweep", f"{trial.name} {why}", trial=trial.name)


def _worth(sweep: JudgedSweep, contestant: Contestant) -> tuple[bool, float]:
    """For sorting, best first: who has a flag (collapsed, empty, left out) comes after all who have none."""
    answers = sweep.measured[contestant.name]
    scores = np.array(scores_of(answers))
    mean = float(np.nanmean(scores)) if np.isfinite(scores).any() else -1.0
    return bool(flags_of(answers, sweep.measured[contestant.base])), -mean
