"""An instruction read again, by a model behind a JudgeEndpoint: one call, journaled, its price in the ledger."""

from __future__ import annotations

import asyncio
from contextlib import closing
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks.errors import NotAllowed
from blocks.journal import Answer, Journal
from blocks.judge import JudgeEndpoint
from blocks.workspace import Workspace
from preference.instruction_second import (
    LEAST_REPLY_TOKENS,
    SecondReading,
    UnusableReading,
    read_second,
    reply_usd,
    second_format,
    second_messages,
)
from preference.ledger import Entry, Kind, check_budget
from preference.session import resource
from tasks import spending
from tasks.buying import Wanted, buy, missing
from tasks.evaluation import JOURNAL

CATEGORY = "Second reading"  # of the bill


def most_usd(endpoint: JudgeEndpoint, instruction: str) -> tuple[float, float] | None:
    """(expected, most) USD of the call; None where its price is not known."""
    return reply_usd(instruction, endpoint.usd_per_million, endpoint.max_tokens)


@task(cache_policy=NO_CACHE)  # the journal is what keeps it
def read_second_time(
    workspace: Workspace, endpoint: JudgeEndpoint, instruction: str, budget_usd: float | None, role: str = "reading"
) -> SecondReading:
    """The model's reading; what is journaled, an answer or that there was none, is not asked again: the plan that was
    approved stands on it.

    It is bought before there is a plan, so the budget is handed in. role: the call's, in the ledger. Raises OutOfBudget
    before anything is asked, and UnusableReading, with the reason, where no reading came of it.
    """
    wanted, name = _wanted(endpoint, instruction), resource(workspace.session, role)
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        if journal.failure(wanted.key) is None and (todo := list(missing(journal, [wanted]))):
            _promise(workspace, endpoint, instruction, budget_usd, name)
            try:
                asyncio.run(buy(endpoint, journal, todo, concurrency=1, price_usd=partial(_price_usd, endpoint)))
            except NotAllowed as error:
                spending.settle(workspace, name, CATEGORY, 0.0)  # it was turned away
                raise UnusableReading(f"the endpoint turned the call away ({error})") from None
        answer, failure = journal.find(wanted.key), journal.failure(wanted.key)
    free = endpoint.usd_per_million == (0, 0)
    spending.settle(workspace, name, CATEGORY, answer.usd if answer else 0.0 if free else None)
    if answer is None:
        raise UnusableReading(f"no answer: {failure}")
    return read_second(answer.text, instruction)


def _wanted(endpoint: JudgeEndpoint, instruction: str) -> Wanted:
    parameters = {
        "temperature": 0,
        "max_tokens": max(endpoint.max_tokens, LEAST_REPLY_TOKENS),
        "response_format": second_format(),
    }
    name = f"{endpoint.model} at {endpoint.base_url}"
    return Wanted(name, endpoint.model, list(second_messages(instruction)), parameters)


def _promise(
    workspace: Workspace, endpoint: JudgeEndpoint, instruction: str, budget_usd: float | None, name: str
) -> None:
    price = most_usd(endpoint, instruction)
    usd = price[1] if price else None
    entry = Entry(kind=Kind.RESERVED, resource=name, category=CATEGORY, usd=usd)
    check_budget(spending.ledger_entries(workspace), entry, budget_usd)
    spending.reserve(workspace, name, CATEGORY, usd)


def _price_usd(endpoint: JudgeEndpoint, wanted: Wanted, answer: Answer) -> float | None:
    if endpoint.usd_per_million is None:
        return None
    prompt, completion = endpoint.usd_per_million
    return (answer.prompt_tokens * prompt + answer.completion_tokens * completion) / 1e6
