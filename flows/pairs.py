"""Phase 3a of the page: prompts become pairs, after a first look at whether the strong model is better at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from prefect.input import RunInput
from pydantic import Field

from flows.decisions import approve_new_spending
from flows.forms import your_name
from flows.gates import gate
from flows.scoring import JudgeScoring, Scoring, ready_scorer, when_first_asked
from flows.sessions import Session
from preference.judge_plan import PAIR_JUDGING
from preference.pair_plan import STRONG_ANSWERS, WEAK_ANSWERS
from preference.pairs import FirstPass
from preference.pairs_page import first_pass_markdown
from preference.plan import Plan
from preference.splits import Split
from tasks.comparing import EvaluatorCode, Scorer, TrustedJudge
from tasks.judge_model import Judge, judge_serving
from tasks.pair_batch import buy_in_batch, needs_more_jobs
from tasks.pair_judging import PairJudge, first_rubric, judge_all_pairs, judge_first_pass, score_first_pass
from tasks.pair_models import pair_serving
from tasks.pair_writing import made_before, write_candidates, write_pairs
from tasks.pairs import Pair, buy_answers, is_bought, make_pairs, pair_counter
from tasks.progress import say

EXAMPLES = 5


class PairsDecision(StrEnum):
    CONTINUE = "continue"
    STOP = "stop"


class PairsAnswer(RunInput):
    """Whether to buy the rest of the pairs."""

    decision: PairsDecision = Field(
        title="Decision",
        description="Continue buys the rest of the pairs as planned. Stop ends the run with nothing more bought.",
        json_schema_extra={"position": 0},
    )
    name: str = your_name(1)


@dataclass(frozen=True)
class PairsOfARun:
    """dataset: of the pairs, by full name. scorer: None for a judge that is still to be tried on them."""

    dataset: str
    scorer: Scorer | None


def pairs_from_prompts(
    run: Session, plan: Plan, split: Split, scoring: Scoring, scorer: Scorer | None
) -> PairsOfARun | None:
    """The pairs as a dataset; None where the first look was enough for the human to stop."""
    if made := made_before(run.workspace, plan):
        return PairsOfARun(made.dataset, scorer)
    maker = _Maker(run, plan, split, scoring, scorer)
    assert plan.pairs is not None
    n_first, n_all = plan.pairs.n_first, plan.pairs.n_prompts
    asked = maker.is_bought(n_all)
    if maker.is_bought(n_first):
        found = maker.first_pass(n_first)
    else:
        with maker.buying() as buy:
            buy(n_first)
            found = maker.first_pass(n_first)
            if found.separates:  # the deployments are up: on with the rest
                buy(n_all)
                asked = True
    if not found.separates and maker.ask(found, n_first) is PairsDecision.STOP:
        return None
    if not asked:
        with maker.buying() as buy:
            buy(n_all)
    return maker.write(found)


class _Maker:
    def __init__(self, run: Session, plan: Plan, split: Split, scoring: Scoring, scorer: Scorer | None) -> None:
        self.run, self.plan, self.split, self.scoring, self.scorer = run, plan, split, scoring, scorer

    @contextmanager
    def buying(self) -> Iterator[Callable[[int], None]]:
        """What has both models answer the first n prompts: while they are deployed, or in batch.

        Started again, it may cost more than was approved, and then a human is asked.
        """
        run, plan, train = self.run, self.plan, self.split.train
        assert plan.pairs is not None
        if plan.pairs.settings.batch:
            yield self.in_batch
            return
        self.approve_more()
        with pair_serving(run.platform, run.workspace, plan) as addresses:
            yield lambda n: buy_answers(run.platform, run.workspace, plan, train, n, addresses)

    def in_batch(self, n: int) -> None:
        run, plan, train = self.run, self.plan, self.split.train
        assert plan.pairs is not None
        if needs_more_jobs(run.workspace, train, plan.pairs, n):
            self.approve_more()
        buy_in_batch(run.platform, run.workspace, plan, train, n)

    def approve_more(self) -> None:
        """For all that is deployed together: a judge looks at the first pairs while both models are up."""
        scoring = self.scoring
        deploys_judge = isinstance(scoring, JudgeScoring) and scoring.judge.endpoint is None
        for line in (STRONG_ANSWERS, WEAK_ANSWERS, *([PAIR_JUDGING] if deploys_judge else [])):
            approve_new_spending(self.run.workspace, self.plan, line)

    @contextmanager
    def judge(self) -> Iterator[PairJudge]:
        """The judge: as it was trusted, else untried, by the user's rubric or by none."""
        run, scoring, scorer = self.run, self.scoring, self.scorer
        assert isinstance(scoring, JudgeScoring)
        trusted = scorer if isinstance(scorer, TrustedJudge) else None
        rubric = trusted.rubric if trusted else scoring.summary.rubric

        def served() -> AbstractContextManager[Judge]:
            if scoring.judge.endpoint is None:
                approve_new_spending(run.workspace, self.plan, PAIR_JUDGING)
            return judge_serving(run.platform, run.workspace, scoring.judge, self.plan, PAIR_JUDGING)

        with when_first_asked(served) as serve:
            doubt = trusted.doubt.rstrip(".") if trusted else ""
            yield PairJudge(scoring.judge, rubric, serve, doubt, tried=trusted is not None)

    def is_bought(self, n: int) -> bool:
        assert self.plan.pairs is not None
        return is_bought(self.run.workspace, self.split.train, self.plan.pairs, n)

    def pairs(self, n: int) -> list[Pair]:
        counter = pair_counter(self.run.platform, self.run.workspace, self.plan)
        return list(make_pairs(self.run.workspace, self.plan, self.split.train, n, counter))

    def first_pass(self, n: int) -> FirstPass:
        platform, workspace, pairs = self.run.platform, self.run.workspace, self.pairs(n)
        if isinstance(self.scorer, EvaluatorCode):
            code = self.scorer
            found = score_first_pass(workspace, self.plan, pairs, code.source, code.environment)
        else:
            with self.judge() as judge:
                found = judge_first_pass(platform, workspace, pairs, judge)
        say(workspace, "pairs", found.text())
        return found

    def write(self, found: FirstPass) -> PairsOfARun:
        """The dataset. A judge that filters is one that may decide: an untried one is tried first."""
        run, plan, split = self.run, self.plan, self.split
        assert plan.pairs is not None
        write = partial(write_pairs, run.platform, run.workspace, plan, split, found)
        if not isinstance(self.scoring, JudgeScoring):
            return PairsOfARun(write().dataset, self.scorer)
        summary = self.scoring.judge.summary
        if not plan.pairs.settings.judge_filter:
            with self.judge() as judge:
                return PairsOfARun(write(summary, first_rubric(run.workspace, judge)).dataset, self.scorer)
        if self.scorer is None:
            write_candidates(run.platform, run.workspace, plan, split)
            self.scorer = ready_scorer(run, plan, self.scoring)
        with self.judge() as judge:
            judge_all_pairs(run.platform, run.workspace, plan, split.train, plan.pairs.n_prompts, judge)
            return PairsOfARun(write(summary, judge.rubric).dataset, self.scorer)

    def ask(self, found: FirstPass, n: int) -> PairsDecision:
        """The gate; the deployments are down while it waits."""
        assert self.plan.pairs is not None
        examples = [
            (str(pair.prompt.messages[-1]["content"]), pair.sides[0].text, pair.sides[1].text)
            for pair in self.pairs(n)[:EXAMPLES]
        ]
        page = first_pass_markdown(found, self.plan.pairs.strong.name, self.plan.pairs.weak.name, examples)
        timeout_days = self.run.request.gate_timeout_days
        return gate(self.run.workspace, PairsAnswer, "pairs", page, timeout_days=timeout_days).decision
