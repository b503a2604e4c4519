"""Phase 3a of the page: prompts become pairs, after a first look at whether the strong model is better at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from prefect.input import RunInput
from pydantic import Field

from blocks.evaluators import EvaluatorSource
from flows.decisions import approve_new_spending
from flows.gates import gate
from flows.sessions import Session
from preference.pair_plan import STRONG_ANSWERS, WEAK_ANSWERS
from preference.pairs import FirstPass, first_pass_markdown
from preference.plan import Plan
from preference.splits import Split
from tasks.pair_models import pair_serving
from tasks.pairs import (
    Pair,
    buy_answers,
    is_bought,
    judge_first_pass,
    made_before,
    make_pairs,
    pair_counter,
    write_pairs,
)
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
    name: str = Field(
        "",
        title="Your name",
        description="Kept with the decision.",
        max_length=100,
        json_schema_extra={"position": 1},
    )


def pairs_from_prompts(
    run: Session, plan: Plan, split: Split, source: EvaluatorSource | None, environment: Path | None
) -> str | None:
    """The dataset of the pairs, by full name; None where the first look was enough for the human to stop."""
    if made := made_before(run.workspace, plan):
        return made.dataset
    maker = _Maker(run, plan, split, source, environment)
    assert plan.pairs is not None
    n_all = plan.pairs.n_prompts
    n_first = min(plan.pairs.settings.first_prompts, n_all)
    asked = maker.is_bought(n_all)
    if maker.is_bought(n_first):
        found = maker.first_pass(n_first)
    else:
        with maker.serving() as addresses:
            buy_answers(run.platform, run.workspace, plan, split.train, n_first, addresses)
            found = maker.first_pass(n_first)
            if found.separates:  # the deployments are up: on with the rest
                buy_answers(run.platform, run.workspace, plan, split.train, n_all, addresses)
                asked = True
    if not found.separates and maker.ask(found, n_first) is PairsDecision.STOP:
        return None
    if not asked:
        with maker.serving() as addresses:
            buy_answers(run.platform, run.workspace, plan, split.train, n_all, addresses)
    return write_pairs(run.platform, run.workspace, plan, split, found).dataset


class _Maker:
    def __init__(
        self, run: Session, plan: Plan, split: Split, source: EvaluatorSource | None, environment: Path | None
    ) -> None:
        self.run, self.plan, self.split, self.source, self.environment = run, plan, split, source, environment

    @contextmanager
    def serving(self) -> Iterator[Mapping[str, str]]:
        """Both models' addresses; started again, they may cost more than was approved, and then a human is asked."""
        for line in (STRONG_ANSWERS, WEAK_ANSWERS):
            approve_new_spending(self.run.workspace, self.plan, line)
        with pair_serving(self.run.platform, self.run.workspace, self.plan) as addresses:
            yield addresses

    def is_bought(self, n: int) -> bool:
        assert self.plan.pairs is not None
        return is_bought(self.run.workspace, self.split.train, self.plan.pairs, n)

    def pairs(self, n: int) -> list[Pair]:
        counter = pair_counter(self.run.platform, self.run.workspace, self.plan)
        return list(make_pairs(self.run.workspace, self.plan, self.split.train, n, counter))

    def first_pass(self, n: int) -> FirstPass:
        found = judge_first_pass(self.run.workspace, self.plan, self.pairs(n), self.source, self.environment)
        say(self.run.workspace, "pairs", found.text())
        return found

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
