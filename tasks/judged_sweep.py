"""Phases 3 and 5 meet: trained models are judged while others train, and the sweep stops once its target is known."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.futures import PrefectFuture, as_completed

from blocks.workspace import Workspace
from preference.bases import CHAMPION
from preference.plan import Plan
from preference.plan_lines import SAMPLING
from preference.splits import HeldOutPrompt
from preference.standings import Contestant, ScoredAnswer
from preference.targets import BLOCK, Stopped, Target, established, hopeless, left_out
from preference.trials import Trial
from tasks.comparing import Measure, TrustedJudge, contestants_of
from tasks.evaluation import write_scored
from tasks.progress import say
from tasks.slots import Slots, StoppedEarly
from tasks.training import STOPPED, TrainedTrial


class JudgedSweep:
    """Judges on the selection half: each model as it comes, where a target is set or serving is free; else the models
    of one base in one batch, so that no deployment idles. Judging runs in the flow's thread and holds no training slot.
    """

    def __init__(
        self,
        workspace: Workspace,
        plan: Plan,
        judge: Measure,
        selection: Sequence[HeldOutPrompt],
        *,
        confirms: bool = True,
    ) -> None:
        """confirms: whether the confirmation comes right after this, on what is still up."""
        self._workspace = workspace
        self._plan = plan
        self._judge = judge
        self._selection = selection
        self._confirms = confirms
        self._target = Target.of(plan.request)
        self._is_free = next(line.usd for line in plan.lines if line.what == SAMPLING) == 0
        self.measured: dict[str, Sequence[ScoredAnswer]] = {}  # by contestant, on the selection half
        self.ended: dict[str, TrainedTrial] = {}  # by trial
        self._candidates: list[Contestant] = []  # who was judged, in that order

    def follow(
        self, batch: Sequence[Trial], futures: Sequence[PrefectFuture[TrainedTrial]], slots: Slots
    ) -> list[TrainedTrial]:
        """Until all trials of a batch have ended; in its order. What a trial's task raises is raised here.

        slots: theirs, which a target that is reached stops.
        """
        at_once = self._target is not None or self._is_free
        for future in as_completed(list(futures)):
            result = future.result()
            self.ended[result.trial.name] = result
            siblings = [t.name for t in batch if t.base_model == result.trial.base_model]
            if at_once:
                self._judge_all([result], slots)
            elif all(name in self.ended for name in siblings):
                self._judge_all([self.ended[name] for name in siblings], slots)
            self._let_deployments_go(batch)
        return [self.ended[trial.name] for trial in batch]

    def _let_deployments_go(self, batch: Sequence[Trial]) -> None:
        """Where they cost, unless another model waits for one, or the confirmation comes next on the same one."""
        waits = any(
            (self._workspace.folder / "trials" / trial.name / "result.json").exists()
            for trial in batch
            if trial.name not in self.ended
        )
        confirms = self._confirms and len(self.ended) == len(self._plan.trials) and len(self._plan.bases) == 1
        if not (self._is_free or waits or confirms):
            self._judge.serving.release_all()

    def _judge_all(self, results: Sequence[TrainedTrial], slots: Slots) -> None:
        """Those of one base. Prompts come in blocks; after each, who cannot catch up with the leader is left out."""
        if not any(result.model for result in results):
            return
        contestants = contestants_of(self._plan, results)
        alive = [c for c in contestants if not c.is_base and c.name != CHAMPION]
        judged = isinstance(self._judge.scorer, TrustedJudge)
        needed = {alive[0].base, *([self._plan.opponent] if self._target or judged else [])}
        needed |= {c.name for c in contestants if c.name == CHAMPION and c.base == alive[0].base}
        others = [c for c in contestants if c.name in needed and c.name not in self.measured]
        if others:
            self.measured |= self._judge.score(others, self._selection, "selection")
        self._candidates += alive
        for end in range(BLOCK, len(self._selection) + BLOCK, BLOCK):
            self.measured |= self._judge.score(alive, self._selection[:end], "selection")
            out = (
                hopeless(self.measured, self._candidates, len(self._plan.trials)) if end < len(self._selection) else {}
            )
            for contestant in [c for c in alive if c.name in out]:
                self._leave_out(contestant, out[contestant.name])
            alive = [c for c in alive if c.name not in out]
            if not alive:
                break
        for contestant in alive:
            self._look_at_target(contestant, slots)

    def _leave_out(self, contestant: Contestant, leader: str) -> None:
        prompts = [(p.prompt_id, str(p.messages[-1].get("content", ""))) for p in self._selection]
        whole = left_out(self.measured[contestant.name], prompts, leader)
        write_scored(self._workspace, "selection", contestant, whole)
        self.measured[contestant.name] = whole
        say(self._workspace, "evaluate", f"{contestant.name} is {whole[-1].reason}")

    def _look_at_target(self, contestant: Contestant, slots: Slots) -> None:
        """Established: said; and where the request says so, nothing more is trained."""
        target, opponent = self._target, self._plan.opponent
        if target is None or self._workspace.read(STOPPED, Stopped) is not None:
            return
        if not established(target, contestant, opponent, self.measured, len(self._plan.trials)):
            return
        reason = (
            f"{contestant.name} is known to reach the target ({target.text()}) on {len(self._selection)} selection "
            f"prompts, corrected for {len(self._plan.trials)} trials"
        )
        say(self._workspace, "sweep", reason)
        if self._plan.request.stop_at_target:
            # written before anything is cancelled, so that a restart does not take cancelled jobs up again
            self._workspace.write(STOPPED, Stopped(candidate=contestant.name, reason=reason))
            slots.stop(StoppedEarly(f"stopped early: {reason}"))
