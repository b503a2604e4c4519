"""The judge: found by name, served where it needs that, asked through the journal, its bill kept in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.client_serving import evaluation_deployment
from blocks.errors import NotFound
from blocks.fireworks import FireworksPlatform
from blocks.journal import Answer, Journal, answer_key
from blocks.judge import JudgeEndpoint
from blocks.workspace import Workspace
from preference.judge_plan import JudgeSummary
from preference.plan import Plan
from preference.session import resource
from tasks import spending
from tasks.buying import ManyAnswers, Wanted, buy, missing
from tasks.counting import CallProgress
from tasks.deployment import take_down_evaluation
from tasks.evaluation import JOURNAL
from tasks.progress import say
from tasks.watching import within_budget

Messages = list[dict[str, Any]]


class NoJudge(RuntimeError):
    """There is nothing to compare answers with; the message says what can be given."""


@dataclass(frozen=True)
class Judge:
    """A judge model; without an endpoint it is one on the platform. address: what is put into a request's `model`."""

    summary: JudgeSummary
    endpoint: JudgeEndpoint | None
    address: str


@task(task_run_name="find-judge", cache_policy=NO_CACHE)
def find_judge(platform: FireworksPlatform, name: str) -> Judge:
    """The JudgeEndpoint block of that name, else the model of that name on the platform. Raises NoJudge."""
    if not name:
        raise NoJudge(
            "without an evaluator, answers are compared by a judge, and none is named. Give `evaluator` (an ID, or "
            "path/to/file.py::function), or `judge`: the name of a saved JudgeEndpoint block, or a model on the "
            "platform."
        )
    if (endpoint := load_endpoint(name)) is not None:
        summary = JudgeSummary(
            name=name,
            model=endpoint.model,
            address=endpoint.base_url,
            usd_per_million=endpoint.usd_per_million,
            max_tokens=endpoint.max_tokens,
            concurrency=endpoint.concurrency,
        )
        return Judge(summary, endpoint, endpoint.model)
    try:
        with platform.get_client() as client:
            model = client.resolve_model(name)
    except NotFound as error:
        raise NoJudge(
            f"there is no JudgeEndpoint block called {name!r}, and no such model on the platform ({error}). Save one "
            "in Prefect's UI (Blocks, Judge Endpoint), or name a model."
        ) from None
    return Judge(JudgeSummary(name=model.name, model=model.name, address=""), None, model.name)


def load_endpoint(name: str) -> JudgeEndpoint | None:
    """The JudgeEndpoint block of that name; None where there is none."""
    if not name.replace("-", "").isalnum() or name != name.lower():
        return None  # no block can be called so
    try:
        return cast(JudgeEndpoint, JudgeEndpoint.load(name))  # a coroutine only in async code
    except ValueError:
        return None


@contextmanager
def judge_serving(
    platform: FireworksPlatform, workspace: Workspace, judge: Judge, plan: Plan, line: str
) -> Iterator[Judge]:
    """The judge as it can be asked: a model on the platform on a deployment of its own, billed to that plan line."""
    if judge.endpoint is not None:
        yield judge
        return
    deployment_id, serving = resource(workspace.session, "judge"), plan.request.serving
    spec = evaluation_deployment(
        judge.summary.model,
        accelerator_type=serving.accelerator_type,
        accelerator_count=serving.accelerator_count,
        display_name=deployment_id,
    )
    spending.begin_evaluation(workspace, plan, deployment_id, category=line)
    with platform.get_client(workspace.session) as client, within_budget(client, workspace):
        try:
            say(workspace, "evaluate", f"starting deployment {deployment_id} for the judge")
            deployment = client.ensure_deployment(deployment_id, spec)
            timeout_s = serving.ready_timeout_minutes * 60
            address = client.wait_until_serving(judge.summary.model, deployment.name, timeout_s=timeout_s)
            yield Judge(judge.summary, None, address)
        finally:
            take_down_evaluation(client, workspace, only=deployment_id)


def judge_parameters(judge: JudgeSummary, response_format: Mapping[str, Any]) -> dict[str, Any]:
    """What a judge is asked with; a part of the journal's keys."""
    return {"temperature": 0, "max_tokens": judge.max_tokens, "response_format": dict(response_format)}


def judge_key(judge: JudgeSummary, messages: Messages, response_format: Mapping[str, Any]) -> str:
    return answer_key(judge.journal_name, messages, judge_parameters(judge, response_format))


def ask_judge(
    platform: FireworksPlatform,
    workspace: Workspace,
    judge: Judge,
    questions: Sequence[Messages],
    response_format: Mapping[str, Any],
    *,
    line: str,
    step: str,
) -> list[Answer | str]:
    """One answer a question, in order; why there is none where there is none. What is journaled is not asked again.

    line: the plan's. step: under which the ledger has it; its calls are promised before the first is made, and
    settled by usage. A model on the platform is paid by its deployment's hours instead.
    """
    parameters = judge_parameters(judge.summary, response_format)
    wanted = [Wanted(judge.summary.journal_name, judge.address, messages, parameters) for messages in questions]
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        todo = list(missing(journal, wanted))
        if todo and judge.endpoint is not None:
            spending.reserve_calls(workspace, step, line, len(questions))
        if todo:
            price = partial(_price_usd, judge.summary)
            with (
                _asked(platform, workspace, judge) as client,
                CallProgress(f"{step}-{workspace.session}", "verdicts", len(todo)) as progress,
            ):
                asyncio.run(
                    buy(
                        client,
                        journal,
                        todo,
                        concurrency=judge.summary.concurrency,
                        price_usd=price,
                        on_answer=progress.count,
                    )
                )
        found = recorded(journal, judge.summary, questions, response_format)
    if judge.endpoint is not None and questions:
        _settle(workspace, line, step, found)
    return found


def recorded(
    journal: Journal, judge: JudgeSummary, questions: Sequence[Messages], response_format: Mapping[str, Any]
) -> list[Answer | str]:
    """What the journal has: an answer a question, or why there is none."""
    keys = [judge_key(judge, messages, response_format) for messages in questions]
    return [journal.find(key) or f"no answer: {journal.failure(key) or 'never asked'}" for key in keys]


@contextmanager
def _asked(platform: FireworksPlatform, workspace: Workspace, judge: Judge) -> Iterator[ManyAnswers]:
    if judge.endpoint is not None:
        yield judge.endpoint
        return
    with platform.get_client(workspace.session) as client:
        yield client


def _price_usd(judge: JudgeSummary, wanted: Wanted, answer: Answer) -> float | None:
    if judge.usd_per_million is None:
        return None
    prompt, completion = judge.usd_per_million
    return (answer.prompt_tokens * prompt + answer.completion_tokens * completion) / 1e6


def _settle(workspace: Workspace, line: str, step: str, found: Sequence[Answer | str]) -> None:
    """By what the answers were billed; unknown where one's price is."""
    prices = [answer.usd for answer in found if isinstance(answer, Answer)]
    known = [usd for usd in prices if usd is not None]
    spending.settle(workspace, step, line, sum(known) if len(known) == len(prices) else None)
