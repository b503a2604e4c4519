"""At most so many training jobs on the platform at once, also for a session that goes on after a crash."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

ARRIVAL_S = 60.0  # for whoever is expected and does not come: its thread died before it could ask


class Stopped(Exception):
    """The run is ending: what waits is not started."""


class StoppedEarly(Exception):
    """The sweep is over before all is trained, and the run goes on with what there is; the message says why."""


class Slots:
    """A semaphore whose places may already be taken when it is made.

    running: the trials whose jobs an earlier process left on the platform. Each holds a place from the start, so
    that no new job is submitted beside them; they may be more than the limit, and then new ones wait longer.
    order: of those that wait, the one that stands first here goes first.
    expected: those that will ask in a moment. They stand in the queue already, so that the threads' chance order of
    arrival decides nothing.
    """

    def __init__(
        self, limit: int, running: Collection[str] = (), order: Sequence[str] = (), expected: Collection[str] = ()
    ) -> None:
        self.limit = limit
        self._rank = {name: n for n, name in enumerate(order)}
        self._waiting: set[str] = set()
        self._expected = set(expected)
        self._arrived_by = time.monotonic() + ARRIVAL_S
        self._running = set(running)
        self._changed = threading.Condition()
        self._stopped = False
        self._because: Exception | None = None

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Wait for a place, and give it back afterwards. Raises Stopped, or stop's reason, once that was called."""
        with self._changed:
            if isinstance(self._because, StoppedEarly):
                raise self._because
            if name not in self._running:
                self._waiting.add(name)
                self._expected.discard(name)
                while not (self._stopped or self._is_next(name)):
                    self._changed.wait(self._patience())
                self._waiting.discard(name)
                if self._stopped:
                    raise self._because or Stopped(f"{name} was not started: the run is ending")
                self._running.add(name)
                self._changed.notify_all()  # there may be a place for the next one, too
        try:
            yield
        finally:
            with self._changed:
                self._running.discard(name)
                self._changed.notify_all()

    def _is_next(self, name: str) -> bool:
        coming = self._expected if self._patience() else set()
        first = min(self._waiting | coming, key=lambda n: (self._rank.get(n, len(self._rank)), n))
        return len(self._running) < self.limit and name == first

    def _patience(self) -> float | None:
        """Seconds for which those who have not come are still expected; None when that is over."""
        left = self._arrived_by - time.monotonic()
        return left if self._expected and left > 0 else None

    def sleep(self, seconds: float) -> None:
        """Wait between two looks at a job. Raises Stopped at once when the run is ending."""
        with self._changed:
            if self._changed.wait_for(lambda: self._stopped, timeout=seconds):
                raise self._because or Stopped("the run is ending")

    def stop(self, because: Exception | None = None) -> None:
        """Whoever waits for a place or a job stops waiting: with this error, else with Stopped."""
        with self._changed:
            self._stopped, self._because = True, because or self._because
            self._changed.notify_all()
