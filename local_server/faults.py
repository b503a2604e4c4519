"""Faults on demand, for tests: what a network or an overloaded service does to a client. Never part of a real server.

faults = Faults()
app = create_app(settings, middleware=[faults.middleware()])
faults.add(Fault.cut_after(), method="POST", path="/dpoJobs", times=1)
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OVERLOADED = json.dumps({"error": {"message": "overloaded", "code": "UNAVAILABLE", "type": "error"}}).encode()
_LIMITED = json.dumps({"error": {"message": "rate limit exceeded", "code": "RESOURCE_EXHAUSTED", "type": "error"}})


@dataclass(frozen=True)
class Fault:
    """What happens to one request."""

    latency_s: float = 0
    status: int | None = None  # answered instead of acting
    headers: tuple[tuple[str, str], ...] = ()
    cut: str | None = None  # "before" acting, or "after": it was done and nobody is told
    body_bytes: int | None = None  # the answer breaks off after so many bytes of its body

    @classmethod
    def slow(cls, seconds: float) -> Self:
        return cls(latency_s=seconds)

    @classmethod
    def rate_limited(cls, retry_after_s: float | None = None) -> Self:
        """429 with the headers that the cloud sends; retry-after only if asked for, since it is not guaranteed."""
        limits = [(f"x-ratelimit-{kind}-tokens-generated", "0") for kind in ("limit", "remaining")]
        wait = [("retry-after", f"{retry_after_s:g}")] if retry_after_s is not None else []
        return cls(status=429, headers=(*limits, *wait))

    @classmethod
    def overloaded(cls) -> Self:
        return cls(status=503)

    @classmethod
    def cut_before(cls) -> Self:
        return cls(cut="before")

    @classmethod
    def cut_after(cls) -> Self:
        return cls(cut="after")

    @classmethod
    def truncated(cls, body_bytes: int) -> Self:
        return cls(body_bytes=body_bytes)


@dataclass
class _Rule:
    fault: Fault
    method: str | None
    path: str
    times: int | None  # None: for ever
    share: float


class Faults:
    """Rules for which requests meet which fault. Thread-safe: tests add them while the server runs."""

    def __init__(self, *, seed: int = 0) -> None:
        self._rules: list[_Rule] = []
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.met: list[tuple[str, str, Fault]] = []  # method, path and fault, in the order that they happened

    def add(
        self, fault: Fault, *, method: str | None = None, path: str = "", times: int | None = 1, share: float = 1.0
    ) -> None:
        """The next `times` requests of that method whose path contains `path` meet it, each with chance `share`."""
        with self._lock:
            self._rules.append(_Rule(fault, method, path, times, share))

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def middleware(self) -> Middleware:
        return Middleware(_FaultyTransport, choose=self._choose)

    def _choose(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for rule in self._rules:
                fits = rule.method in (None, method) and rule.path in path and rule.times != 0
                if fits and self._random.random() < rule.share:
                    if rule.times is not None:
                        rule.times -= 1
                    self.met.append((method, path, rule.fault))
                    return rule.fault
        return None


class _FaultyTransport:
    def __init__(self, app: ASGIApp, choose: Callable[[str, str], Fault | None]) -> None:
        self._app = app
        self._choose = choose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._choose(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.latency_s)
        if fault.cut == "before":
            await _cut(send)
        elif fault.status is not None:
            await _refuse(fault, receive, send)
        elif fault.cut == "after":
            await self._app(scope, receive, _nowhere)
            await _cut(send)
        elif fault.body_bytes is not None:
            await self._app(scope, receive, _Truncating(send, fault.body_bytes))
        else:
            await self._app(scope, receive, send)


async def _cut(send: Send) -> None:
    """Close the connection; what was written is still delivered. uvicorn's cycle is the owner of `send`."""
    cycle: Any = getattr(send, "__self__", None)
    if cycle is None:
        raise RuntimeError("faults must be the outermost middleware under uvicorn")
    cycle.transport.close()
    while not cycle.disconnected:
        await asyncio.sleep(0)


async def _refuse(fault: Fault, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):  # read what is sent, as a proxy does: the connection stays usable
        pass
    body = _LIMITED.encode() if fault.status == 429 else _OVERLOADED
    names = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    given = [(name.encode(), value.encode()) for name, value in fault.headers]
    await send({"type": "http.response.start", "status": fault.status, "headers": [*names, *given]})
    await send({"type": "http.response.body", "body": body})


async def _nowhere(_: Message) -> None:
    """The application has acted and believes that it was heard."""


class _Truncating:
    """Passes on so many bytes of the body, then closes the connection."""

    def __init__(self, send: Send, body_bytes: int) -> None:
        self._send = send
        self._left = body_bytes

    async def __call__(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            await self._send(message)
        elif self._left >= 0:
            body = message.get("body", b"")
            whole = len(body) <= self._left
            part = {**message, "body": body[: self._left], **({} if whole else {"more_body": True})}
            await self._send(part)
            self._left -= len(body)
            if not whole:
                await _cut(self._send)
