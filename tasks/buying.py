"""Completions in bulk: every call is announced before it goes out, and its answer journaled before it is used."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from blocks.answers import choice_text, thinking_is_open
from blocks.bulk import ChatRequest, ChatResult
from blocks.errors import Refused
from blocks.journal import Answer, Journal, answer_key
from preference.wire import ChatCompletion


class ManyAnswers(Protocol):
    """Who answers in bulk: the platform's client, or a judge's endpoint."""

    def chat_many(self, requests: Iterable[ChatRequest], *, concurrency: int) -> AsyncGenerator[ChatResult]: ...


@dataclass(frozen=True)
class Wanted:
    """One completion to have in the journal. model and parameters decide its key; address is where to ask."""

    model: str
    address: str
    messages: list[dict[str, Any]]
    parameters: Mapping[str, Any]

    @property
    def key(self) -> str:
        return answer_key(self.model, self.messages, dict(self.parameters))


def missing(journal: Journal, wanted: Iterable[Wanted]) -> Iterator[Wanted]:
    """Those that are not in the journal, answered or refused; looked up one by one, so that millions need no memory."""
    return (each for each in wanted if journal.find(each.key) is None and not was_refused(journal.failure(each.key)))


def was_refused(failure: str | None) -> bool:
    """Whether the platform does not want this request, and would not want it again."""
    return (failure or "").startswith(f"{Refused.__name__}:")


async def buy(
    client: ManyAnswers,
    journal: Journal,
    wanted: Iterable[Wanted],
    *,
    concurrency: int,
    price_usd: Callable[[Wanted, Answer], float | None] = lambda wanted, answer: None,
    on_answer: Callable[[Wanted, Answer | None], None] = lambda wanted, answer: None,
) -> None:
    """Ask for all of them, each key once; a call that fails for good is journaled with its reason.

    on_answer is called for each as it comes, with None where there is no answer. Memory is bounded by what is in
    flight. price_usd is what the platform bills for an answer; None where it bills by the hour.
    """
    asked: dict[str, tuple[Wanted, int]] = {}

    def requests() -> Iterator[ChatRequest]:
        for each in wanted:
            key = each.key
            if key not in asked:
                asked[key] = each, journal.begin(key)
                yield ChatRequest(key, each.address, each.messages, each.parameters)

    async with aclosing(client.chat_many(requests(), concurrency=concurrency)) as results:
        async for result in results:
            each, call = asked.pop(result.request.key)
            if result.completion is None or not result.completion.choices:
                error = result.error
                journal.fail(call, f"{type(error).__name__}: {error}" if error else "a completion without a choice")
                on_answer(each, None)
                continue
            answer = answer_of(result.completion)
            answer = answer.model_copy(update={"usd": price_usd(each, answer), "adapted": result.request.adapted})
            journal.finish(call, each.key, each.model, each.messages, dict(each.parameters), answer)
            on_answer(each, answer)


def answer_of(completion: ChatCompletion) -> Answer:
    """What the journal keeps of a completion's first choice."""
    choice, usage = completion.choices[0], completion.usage
    return Answer(
        text=choice_text(choice),
        finish_reason=choice.finish_reason,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        thinking_open=thinking_is_open(choice),
    )
