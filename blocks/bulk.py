"""Thousands of chat completions: many in flight, results as they come, memory bounded by what is in flight.

Over aiohttp: httpx's pool collapses with hundreds of connections, and aiohttp's transport under httpx takes
twice aiohttp's own processor time a request (`benchmarks/client.py`). A request is tried until it is answered,
refused for good, or out of patience; each result says which.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
import orjson
from pydantic import ValidationError

from blocks.connection import CHAT_READ_S, CHAT_TIMEOUT, TRIES, Connection, ssl_context
from blocks.dialect import Dialect
from blocks.errors import (
    BadAnswer,
    NotAllowed,
    NotReached,
    PlatformError,
    RateLimited,
    ScalingUp,
    Unavailable,
)
from blocks.limits import AdaptiveLimit
from preference.wire import ChatCompletion

CHAT_PATH = "/inference/v1/chat/completions"

SCALING_WAIT_S = 5.0


@dataclass(frozen=True)
class ChatRequest:
    """One completion to ask for. `key` is the caller's, to know the result by."""

    key: str
    model: str
    messages: Sequence[Mapping[str, Any]]
    params: Mapping[str, Any] = field(default_factory=dict)
    adapted: str = ""  # how it was changed for an endpoint that does not take all of it (blocks/dialect.py)

    def body(self, address: str) -> dict[str, Any]:
        return {"model": address, "messages": list(self.messages), **self.params}


@dataclass(frozen=True)
class ChatResult:
    """What became of a request: a completion, or the error that ended it. Never both."""

    request: ChatRequest
    completion: ChatCompletion | None
    error: PlatformError | None
    tries: int
    latency_s: float  # of the try that ended it


class BulkChat:
    """Sends requests over one pool of connections. An async context manager, for one event loop."""

    def __init__(
        self,
        connection: Connection,
        *,
        concurrency: int,
        patience_s: float,
        limit: Callable[[str], AdaptiveLimit],
        address: Callable[[str], str] = str,
        url: str | None = None,
        read_timeout_s: float = CHAT_READ_S,
        dialect: Dialect | None = None,
    ) -> None:
        """url: where completions are asked for, by default the platform's own path; read_timeout_s: of one try.

        dialect: what may be left out of a request that is refused because of it.
        """
        self._connection = connection
        self._concurrency = concurrency
        self._patience_s = patience_s
        self._limit = limit
        self._address = address
        self._url = url or connection.root + CHAT_PATH
        self._read_timeout_s = read_timeout_s
        self._dialect = dialect or Dialect(())
        self._any_answer = False
        self._given_up: PlatformError | None = None

    async def __aenter__(self) -> BulkChat:
        pool = aiohttp.TCPConnector(limit=self._concurrency, ssl=ssl_context())
        self._http = aiohttp.ClientSession(
            connector=pool,
            headers={"Content-Type": "application/json", **self._connection.headers},
            timeout=aiohttp.ClientTimeout(sock_connect=CHAT_TIMEOUT.connect, sock_read=self._read_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=environment_proxy(self._url),
        )
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._http.close()

    async def ask(self, request: ChatRequest) -> ChatResult:
        """The request's result. Raises only what ends the whole lot: NotAllowed."""
        while True:
            params, told = self._dialect.put(request.params)
            result = await self._ask(replace(request, params=params, adapted=told))
            if not self._dialect.learn(result.error, params):
                return result

    async def _ask(self, request: ChatRequest) -> ChatResult:
        """Tried until it is out of patience; at once where another was, and nothing was ever answered here."""
        if self._given_up is not None:
            return ChatResult(request, None, self._given_up, 0, 0.0)
        began, tries, waits = time.monotonic(), 0, self._connection.waits()
        limit = self._limit(request.model)
        while True:
            tries += 1
            ticket = await limit.acquire()
            sent = time.monotonic()
            try:
                completion, headers = await self._ask_once(request)
            except NotAllowed:
                limit.give_back()
                raise
            except PlatformError as error:
                wait_s = max(next(waits), error.retry_after_s or 0.0)
                self._give_back(limit, ticket, error)
                now = time.monotonic()
                out_of_patience = now + wait_s - began > self._patience_s
                worth_another = self._worth_another(error, tries)
                if out_of_patience and worth_another and not self._any_answer:
                    self._given_up = error  # a refusal is this request's own, and never comes here
                if out_of_patience or not worth_another:
                    return ChatResult(request, None, error, tries, now - sent)
                await asyncio.sleep(wait_s)
            except BaseException:
                limit.give_back()
                raise
            else:
                self._any_answer = True
                limit.succeeded(headers)
                return ChatResult(request, completion, None, tries, time.monotonic() - sent)

    async def _ask_once(self, request: ChatRequest) -> tuple[ChatCompletion, Mapping[str, str]]:
        body = orjson.dumps(request.body(self._address(request.model)))
        try:
            async with self._http.post(self._url, data=body, allow_redirects=False) as response:
                status, headers, content = response.status, response.headers, await response.read()
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise self._connection.not_reached("POST", self._url, error) from error
        if status != 200:
            answer = httpx.Response(status, headers=dict(headers), content=content)
            raise self._connection.refusal("POST", self._url, answer)
        try:
            return ChatCompletion.model_validate_json(content), headers
        except ValidationError as error:
            raise BadAnswer(
                f"POST {self._url} was answered with {status}, not with a chat completion "
                f"({type(error).__name__}, {len(content)} bytes).",
                status=status,
            ) from error

    def _give_back(self, limit: AdaptiveLimit, ticket: int, error: PlatformError) -> None:
        if isinstance(error, ScalingUp):
            limit.pause(error.retry_after_s or SCALING_WAIT_S)
        elif isinstance(error, RateLimited) or error.status == 503:
            limit.refused(ticket, error.retry_after_s or 0.0)
        else:
            limit.give_back()

    @staticmethod
    def _worth_another(error: PlatformError, tries: int) -> bool:
        """Overload passes; a broken answer or a 500 may be this request's own, and gets a few tries."""
        if isinstance(error, (RateLimited, ScalingUp, NotReached)) or error.status in (502, 503, 504):
            return True
        return isinstance(error, (Unavailable, BadAnswer)) and tries < TRIES


def environment_proxy(url: str) -> str | None:
    """The proxy for an address, from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

    Asked once, since aiohttp's trust_env asks anew, in a thread, with each request: 0.7 ms of it.
    """
    split, proxies = urlsplit(url), getproxies()
    if proxy_bypass(split.hostname or ""):
        return None
    return proxies.get(split.scheme) or proxies.get("all")


async def as_they_come(
    requests: Iterable[ChatRequest], ask: Callable[[ChatRequest], Awaitable[ChatResult]], concurrency: int
) -> AsyncGenerator[ChatResult]:
    """The results, in the order they finish; at most `concurrency` requests are taken and not handed over."""
    todo = iter(requests)
    running: set[asyncio.Task[ChatResult]] = set()
    finished: deque[asyncio.Task[ChatResult]] = deque()
    wake = asyncio.Event()

    def on_done(task: asyncio.Task[ChatResult]) -> None:
        running.discard(task)
        finished.append(task)
        wake.set()

    try:
        exhausted = False
        while True:
            while not exhausted and len(running) + len(finished) < concurrency:
                try:
                    request = next(todo)
                except StopIteration:
                    exhausted = True
                    break
                task = asyncio.ensure_future(ask(request))
                running.add(task)
                task.add_done_callback(on_done)
            if not finished:
                if not running:
                    return
                wake.clear()
                await wake.wait()
            yield finished.popleft().result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, *finished, return_exceptions=True)  # theirs are read, so not logged as lost
