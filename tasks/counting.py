"""How far many calls have come, for whoever looks at the run's page: a progress artifact with rate and time left."""

from __future__ import annotations

import contextvars
import threading
import time
from typing import Any, Self

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

from blocks.journal import Answer
from preference.cost import duration_text
from tasks.buying import Wanted
from tasks.progress import logger

EVERY_S = 2.0


class CallProgress:
    """Counts calls as they end, and shows them from a thread of its own, since Prefect's calls take their time."""

    def __init__(self, key: str, what: str, n_wanted: int) -> None:
        """key: the artifact's, lower-case letters, digits and dashes. what: is counted, such as answers."""
        self._key, self._what, self._n_wanted = key, what, n_wanted
        self._n_done = self._n_failed = 0
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._artifact: Any = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=lambda: context.run(self._run), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def count(self, wanted: Wanted, answer: Answer | None) -> None:
        """None: the call failed for good."""
        self._n_done += 1
        self._n_failed += answer is None

    @property
    def n_seen(self) -> int:
        """Calls that have ended, as far as is known."""
        return self._n_done

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def text(self) -> str:
        rate = self.n_seen / self.seconds
        left = f", {duration_text((self._n_wanted - self.n_seen) / rate)} left" if rate else ""
        failed = f" ({self._n_failed} failed)" if self._n_failed else ""
        return f"{self.n_seen:,} of {self._n_wanted:,} {self._what}{failed}, {rate:.1f} a second{left}"

    def _run(self) -> None:
        if TaskRunContext.get() is None:
            return
        while not self._over.wait(EVERY_S):
            self._show()
        self._show()

    def _show(self) -> None:
        percent = 100.0 * self.n_seen / self._n_wanted if self._n_wanted else 100.0
        try:
            if self._artifact is None:
                self._artifact = create_progress_artifact(percent, key=self._key, description=self.text())
            else:
                update_progress_artifact(self._artifact, percent, description=self.text())
        except Exception as error:  # what is bought matters more than how it is shown
            logger().warning("%s: progress could not be shown: %s", self._key, error)
