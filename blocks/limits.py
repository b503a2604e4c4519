"""How many calls of a model may be in flight at once: one number that all its callers share, found by trying.

Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain 1989), with its slow start: doubling
each round trip up to the first refusal. Callers may live in different threads and event loops.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

START = 32.0
NEARLY_USED_UP = 0.1  # share of a rate limit that is left when we stop growing


class AdaptiveLimit:
    """`await acquire()` before a call; after it, `release()` with what the server thought of it."""

    def __init__(self, start: float = START, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = start
        self.in_flight = 0
        self._clock = clock
        self._slow_start = True
        self._cuts = 0
        self._open_at = 0.0
        self._lock = threading.Lock()
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()

    async def acquire(self) -> int:
        """Wait for a place and for the end of a pause; returns a ticket to release with."""
        with self._lock:
            free = self.in_flight < int(self.limit) and not self._waiting
            if free:
                self.in_flight += 1
            else:
                loop = asyncio.get_running_loop()
                place: asyncio.Future[None] = loop.create_future()
                self._waiting.append((loop, place))
        if not free:
            await self._place(place)
        try:
            while (pause_s := self._open_at - self._clock()) > 0:
                await asyncio.sleep(pause_s)
        except asyncio.CancelledError:
            self.give_back()
            raise
        return self._cuts

    async def _place(self, place: asyncio.Future[None]) -> None:
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.give_back()  # it was granted in the moment of giving up
            raise

    def succeeded(self, headers: Mapping[str, str] | None = None) -> None:
        """Give the place back; grow by one a round trip, or double in slow start, while all is in use."""
        with self._lock:
            if 2 * self.in_flight >= self.limit and not _nearly_used_up(headers or {}):
                self.limit += 1.0 if self._slow_start else 1.0 / self.limit
            self._free_one()

    def refused(self, ticket: int, pause_s: float = 0.0) -> None:
        """Give the place back; halve, once for all calls that were under way together, and pause everyone."""
        with self._lock:
            if ticket == self._cuts:
                self._cuts += 1
                self._slow_start = False
                self.limit = max(1.0, min(self.limit, self.in_flight) / 2)
            self._open_at = max(self._open_at, self._clock() + pause_s)
            self._free_one()

    def pause(self, pause_s: float) -> None:
        """Give the place back; all wait for so long, but the limit stays: nobody is there to answer yet."""
        with self._lock:
            self._open_at = max(self._open_at, self._clock() + pause_s)
            self._free_one()

    def give_back(self) -> None:
        """Give the place back without having learned anything."""
        with self._lock:
            self._free_one()

    def _free_one(self) -> None:
        self.in_flight -= 1
        while self._waiting and self.in_flight < int(self.limit):
            loop, place = self._waiting.popleft()
            if place.cancelled():
                continue
            self.in_flight += 1
            try:
                loop.call_soon_threadsafe(self._grant, place)
            except RuntimeError:  # that loop is closed, and its callers with it
                self.in_flight -= 1

    def _grant(self, place: asyncio.Future[None]) -> None:
        if place.done():
            self.give_back()
        else:
            place.set_result(None)


def _nearly_used_up(headers: Mapping[str, str]) -> bool:
    """Whether one of the answer's x-ratelimit-remaining-* is under a tenth of its x-ratelimit-limit-*."""
    for name, value in headers.items():
        if name.lower().startswith("x-ratelimit-remaining-"):
            limit = headers.get(name.lower().replace("remaining", "limit"))
            try:
                if limit and float(value) < NEARLY_USED_UP * float(limit):
                    return True
            except ValueError:
                continue
    return False


_limits: dict[tuple[str, ...], AdaptiveLimit] = {}
_limits_lock = threading.Lock()


def shared_limit(*key: str) -> AdaptiveLimit:
    """The limit of an address, account and model, one in the process."""
    with _limits_lock:
        return _limits.setdefault(key, AdaptiveLimit())
