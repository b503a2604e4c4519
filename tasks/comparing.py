"""Phase 5 as a whole: who answers which prompts, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import unmapped

from blocks.evaluators import EvaluatorSource
from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from preference import splits
from preference.bases import CHAMPION
from preference.comparison import JudgedBy, compare_halves
from preference.plan import Plan, is_unsandboxed
from preference.plan_lines import SAMPLING
from preference.splits import HeldOutPrompt, read_prompts
from preference.standings import Answers, Comparison, Contestant, ScoredAnswer
from preference.targets import with_target
from tasks.evaluation import answer_prompts, is_answered, score_answers, write_scored
from tasks.judge_model import Judge
from tasks.judging import as_opponent, judge_answers
from tasks.progress import begin, timed
from tasks.serving import EvaluationServing
from tasks.training import TrainedTrial


class AllTrialsFailed(RuntimeError):
    """There is nothing to compare; the message has each trial's reason."""


def contestants_of(plan: Plan, trained: Sequence[TrainedTrial]) -> list[Contestant]:
    """The bases first, then every trial that has a model. Raises AllTrialsFailed."""
    tuned = [
        Contestant(
            name=result.trial.name,
            label=result.trial.label,
            model=result.model,
            base=plan.base_of(result.trial).name,
        )
        for result in trained
        if result.model is not None
    ]
    if not tuned:
        reasons = "\n".join(f"- {result.trial.name}: {result.message}" for result in trained)
        raise AllTrialsFailed(f"none of the {len(trained)} trials has a model:\n{reasons}")
    served = plan.champion
    champion = [Contestant(name=CHAMPION, label=served.model, model=served.model, base=served.base)] if served else []
    return [*bases_of(plan), *champion, *tuned]


def bases_of(plan: Plan) -> list[Contestant]:
    return [Contestant(name=b.name, label=f"{b.label}, untouched", model=b.model.name, base=b.name) for b in plan.bases]


def held_out_halves(split: splits.Split) -> tuple[list[HeldOutPrompt], list[HeldOutPrompt]]:
    """The prompts that choose, and those that confirm the winner once; the latter may be none."""
    prompts = {prompt.prompt_id: prompt for prompt in read_prompts(split.held_out)}
    selection, confirmation = splits.halves(split.held_out)
    return [prompts[i] for i in selection], [prompts[i] for i in confirmation]


@dataclass(frozen=True)
class EvaluatorCode:
    """An evaluator that is ready to run. environment: its own, where it has requirements."""

    source: EvaluatorSource
    environment: Path | None


@dataclass(frozen=True)
class TrustedJudge:
    """A judge that may be asked now, by this rubric. doubt: why it is below the line, where a human let it on."""

    judge: Judge
    rubric: str
    serve: Callable[[], Judge]  # the judge as it can be asked; one on the platform is deployed by the first call
    doubt: str = ""


Scorer = EvaluatorCode | TrustedJudge


@dataclass(frozen=True)
class Measure:
    """What every contestant is measured with: the same prompts, sampling, and evaluator or judge, for all."""

    platform: FireworksPlatform
    workspace: Workspace
    serving: EvaluationServing
    plan: Plan
    scorer: Scorer

    def score(self, contestants: Sequence[Contestant], prompts: Sequence[HeldOutPrompt], part: str) -> Answers:
        """Answers with scores by contestant; part names the half in the folder.

        Base by base, those of one base side by side.
        """
        begin(self.workspace, "evaluate")
        found: dict[str, list[ScoredAnswer]] = {}
        scorer = self.scorer
        for base in dict.fromkeys(c.base for c in contestants):
            own = [c for c in contestants if c.base == base]
            with timed(self.workspace, SAMPLING):
                answers = self._answers(own, prompts)
            if isinstance(scorer, EvaluatorCode):
                found |= self._scores(own, answers, prompts, part, scorer)
            else:
                found |= {c.name: given for c, given in zip(own, answers, strict=True)}
        return found if isinstance(scorer, EvaluatorCode) else self._judged(contestants, found, prompts, part, scorer)

    def _answers(
        self, contestants: Sequence[Contestant], prompts: Sequence[HeldOutPrompt]
    ) -> Sequence[list[ScoredAnswer]]:
        sampling = self.plan.request.sampling
        unanswered = [c for c in contestants if not is_answered(self.workspace, c, prompts, sampling)]
        return answer_prompts.map(
            unmapped(self.platform),
            unmapped(self.workspace),
            list(contestants),
            unmapped(self.serving.addresses(unanswered)),
            unmapped(prompts),
            unmapped(sampling),
        ).result()

    def _scores(
        self,
        contestants: Sequence[Contestant],
        answers: Sequence[list[ScoredAnswer]],
        prompts: Sequence[HeldOutPrompt],
        part: str,
        code: EvaluatorCode,
    ) -> dict[str, list[ScoredAnswer]]:
        scored = score_answers.map(
            unmapped(self.workspace),
            list(contestants),
            list(answers),
            unmapped(prompts),
            unmapped(code.source),
            unmapped(code.environment),
            part=part,
            unsandboxed=is_unsandboxed(self.plan),
        ).result()
        return {c.name: found for c, found in zip(contestants, scored, strict=True)}

    def _judged(
        self,
        contestants: Sequence[Contestant],
        answers: dict[str, list[ScoredAnswer]],
        prompts: Sequence[HeldOutPrompt],
        part: str,
        trusted: TrustedJudge,
    ) -> dict[str, list[ScoredAnswer]]:
        """The answers with the verdicts on them against the opponent's; to confirm, only the candidate's are judged."""
        opponent = self.plan.opponent
        judged = [c for c in contestants if c.name != opponent and (part == "selection" or not c.is_base)]
        needed = {opponent, *(c.base for c in judged)} if judged else set()
        for base in bases_of(self.plan):
            if base.name in needed - answers.keys():
                [answers[base.name]] = self._answers([base], prompts)
        found = {c.name: answers[c.name] for c in contestants}
        if opponent in found:
            found[opponent] = as_opponent(answers[opponent])
        for contestant in contestants:
            if contestant not in judged:
                write_scored(self.workspace, part, contestant, found[contestant.name])
        if not judged:
            return found
        scored = judge_answers.map(
            unmapped(self.platform),
            unmapped(self.workspace),
            unmapped(trusted.serve()),
            unmapped(trusted.rubric),
            judged,
            [answers[c.name] for c in judged],
            unmapped(answers[opponent]),
            [None if c.is_base or c.base == opponent else answers[c.base] for c in judged],
            unmapped(prompts),
            part=part,
        ).result()
        return found | {c.name: given for c, given in zip(judged, scored, strict=True)}

    def compare(
        self,
        contestants: Sequence[Contestant],
        selection: Sequence[HeldOutPrompt],
        confirmation: Sequence[HeldOutPrompt],
        measured: Answers,
    ) -> Comparison:
        """Rank all on the selection half, and measure the proposed one once on the confirmation half.

        measured: what the selection half has brought so far.
        """

        def answers(wanted: Sequence[Contestant], part: str) -> Answers:
            if part == "confirmation":
                return self.score(wanted, confirmation, part)
            missing = [c for c in wanted if c.name not in measured]
            return {**measured, **(self.score(missing, selection, part) if missing else {})}

        found = compare_halves(
            contestants,
            answers,
            has_confirmation=bool(confirmation),
            opponent=self.plan.opponent,
            judge=self.judged_by,
        )
        return with_target(found, self.plan.request)

    @property
    def judged_by(self) -> JudgedBy | None:
        if isinstance(self.scorer, EvaluatorCode):
            return None
        return JudgedBy(self.scorer.judge.summary.name, self.scorer.doubt)
