"""Phase 5 as a whole: who answers which prompts, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import unmapped

from blocks.evaluators import EvaluatorSource
from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from preference import splits
from preference.comparison import BASE, Answers, Comparison, Contestant, compare_halves
from preference.settings import PreferenceRequest
from preference.splits import HeldOutPrompt, read_prompts
from preference.wire import Model
from tasks.evaluation import answer_prompts, score_answers
from tasks.training import TrainedTrial


class AllTrialsFailed(RuntimeError):
    """There is nothing to compare; the message has each trial's reason."""


def contestants_of(base_model: Model, trained: Sequence[TrainedTrial]) -> list[Contestant]:
    """The base first, then every trial that has a model. Raises AllTrialsFailed."""
    tuned = [
        Contestant(name=result.trial.name, label=result.trial.label, model=result.model)
        for result in trained
        if result.model is not None
    ]
    if not tuned:
        reasons = "\n".join(f"- {result.trial.name}: {result.message}" for result in trained)
        raise AllTrialsFailed(f"none of the {len(trained)} trials has a model:\n{reasons}")
    label = base_model.display_name or base_model.name
    return [Contestant(name=BASE, label=f"{label}, untouched", model=base_model.name), *tuned]


def held_out_halves(split: splits.Split) -> tuple[list[HeldOutPrompt], list[HeldOutPrompt]]:
    """The prompts that choose, and those that confirm the winner once; the latter may be none."""
    prompts = {prompt.prompt_id: prompt for prompt in read_prompts(split.held_out)}
    selection, confirmation = splits.halves(split.held_out)
    return [prompts[i] for i in selection], [prompts[i] for i in confirmation]


@dataclass(frozen=True)
class Judge:
    """What every contestant is measured with: the same prompts, sampling and evaluator for all."""

    platform: FireworksPlatform
    workspace: Workspace
    addresses: Mapping[str, str]
    request: PreferenceRequest
    source: EvaluatorSource
    environment: Path | None

    def score(self, contestants: Sequence[Contestant], prompts: Sequence[HeldOutPrompt], part: str) -> Answers:
        """Answers with scores by contestant, side by side; part names the half in the folder."""
        answers = answer_prompts.map(
            unmapped(self.platform),
            unmapped(self.workspace),
            list(contestants),
            unmapped(self.addresses),
            unmapped(prompts),
            unmapped(self.request.sampling),
        )
        scored = score_answers.map(
            unmapped(self.workspace),
            list(contestants),
            answers,
            unmapped(prompts),
            unmapped(self.source),
            unmapped(self.environment),
            part=part,
            unsandboxed=self.request.unsandboxed_evaluator,
        ).result()
        return {c.name: found for c, found in zip(contestants, scored, strict=True)}

    def compare(
        self,
        contestants: Sequence[Contestant],
        selection: Sequence[HeldOutPrompt],
        confirmation: Sequence[HeldOutPrompt],
    ) -> Comparison:
        """Rank all on the selection half, and measure the proposed one once on the confirmation half."""
        halves = {"selection": selection, "confirmation": confirmation}
        return compare_halves(
            contestants,
            lambda measured, part: self.score(measured, halves[part], part),
            has_confirmation=bool(confirmation),
        )
