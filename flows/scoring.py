"""How the answers will be scored: by an evaluator's code, or by a judge that is tried first."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, overload

from blocks.evaluators import EvaluatorSource, why_not_sandboxed
from flows.decisions import accept_unsandboxed, require_sound, require_trust
from flows.sessions import Session
from preference.evaluator_plan import EvaluatorSummary
from preference.judge_plan import JUDGING, QUALIFICATION, JudgePlan
from preference.pair_plan import PairJudging
from preference.plan import Plan
from tasks.comparing import EvaluatorCode, Scorer, TrustedJudge
from tasks.evaluation import fetch_evaluator, prepare_evaluator, summarize, try_evaluator
from tasks.judge_model import Judge, find_judge, judge_serving
from tasks.judging import Labels, delta_labels, gather_labels, qualify_judge, summarize_judge


@dataclass(frozen=True)
class CodeScoring:
    source: EvaluatorSource
    summary: EvaluatorSummary
    train: Path


@dataclass(frozen=True)
class JudgeScoring:
    judge: Judge
    labels: Labels | None  # None: those of the pairs that are yet to be made
    summary: JudgePlan


Scoring = CodeScoring | JudgeScoring


def find_scoring(run: Session, train: Path) -> Scoring:
    """What the request asks for, as the plan shows it; nothing is bought. Raises where there is no such thing."""
    request, workspace, platform = run.request, run.workspace, run.platform
    if request.evaluator:
        source = fetch_evaluator(platform, workspace, request.evaluator)
        summary = summarize(source, unsandboxed=request.unsandboxed_evaluator)
        if not summary.unsandboxed and (why_not := why_not_sandboxed()) is not None:
            accept_unsandboxed(workspace, summary, why_not, timeout_days=request.gate_timeout_days)
            summary = summary.model_copy(update={"unsandboxed": True})
        return CodeScoring(source, summary, train)
    judge = find_judge(platform, request.judge)
    labels = gather_labels(platform, workspace, request, train)
    return JudgeScoring(judge, labels, summarize_judge(judge, labels, request.rubric, train))


def scorer_name(scoring: Scoring) -> str:
    """The evaluator's name, or the judge's."""
    return scoring.summary.name if isinstance(scoring, CodeScoring) else scoring.judge.summary.name


def pair_judging(scoring: Scoring) -> PairJudging | None:
    """How far the judge is known when it looks at pairs that are made; None for an evaluator's code."""
    if isinstance(scoring, CodeScoring):
        return None
    tried = scoring.labels is not None
    writes = not tried and not scoring.summary.rubric
    return PairJudging(tried=tried, writes=writes, deployed=scoring.judge.endpoint is None)


@overload
def ready_scorer(run: Session, plan: Plan, scoring: Scoring, *, before_pairs: Literal[True]) -> Scorer | None: ...
@overload
def ready_scorer(run: Session, plan: Plan, scoring: Scoring) -> Scorer: ...
def ready_scorer(run: Session, plan: Plan, scoring: Scoring, *, before_pairs: bool = False) -> Scorer | None:
    """Install the evaluator's requirements and try it, or try the judge on labelled pairs. Raises JudgeNotTrusted.

    before_pairs: None for a judge whose only labels are those of pairs that are yet to be made.
    """
    if isinstance(scoring, CodeScoring):
        unsandboxed = scoring.summary.unsandboxed
        environment = prepare_evaluator(run.workspace, scoring.source, unsandboxed=unsandboxed)
        faults = try_evaluator(run.workspace, scoring.source, environment, scoring.train, unsandboxed=unsandboxed)
        require_sound(run.workspace, scoring.source.name, faults, plan)
        return EvaluatorCode(scoring.source, environment)
    if scoring.labels is None and before_pairs:
        return None
    labels = scoring.labels or delta_labels(run.workspace)
    with judge_serving(run.platform, run.workspace, scoring.judge, plan, QUALIFICATION) as served:
        tried = qualify_judge(run.platform, run.workspace, served, scoring.summary.rubric, labels)
    require_trust(run.workspace, tried, plan)
    return TrustedJudge(scoring.judge, tried.rubric, lambda: scoring.judge, tried.doubt)


@contextmanager
def scorer_serving(run: Session, plan: Plan, scorer: Scorer) -> Iterator[Scorer]:
    """The scorer as it can be asked: a judge on the platform gets its deployment when it is first needed."""
    if isinstance(scorer, EvaluatorCode):
        yield scorer
        return
    served = functools.partial(judge_serving, run.platform, run.workspace, scorer.judge, plan, JUDGING)
    with when_first_asked(served) as serve:
        yield replace(scorer, serve=serve)


@contextmanager
def when_first_asked(served: Callable[[], AbstractContextManager[Judge]]) -> Iterator[Callable[[], Judge]]:
    """A function that gives the judge as it can be asked: served by its first call, and until this is over."""
    with ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(served()))
