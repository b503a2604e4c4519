"""How far the answers have come: a progress artifact with rate, time left and spend."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

from blocks.journal import Answer
from blocks.workspace import Workspace
from preference.cost import duration_text, usd_text
from preference.plan import Plan
from preference.wire import BatchInferenceJob
from tasks.buying import Wanted
from tasks.progress import logger, say
from tasks.spending import replica_usd

EVERY_S = 2.0
N_DEPLOYMENTS = 2


class PairProgress:
    """Counts answers as they come, and shows them from a thread of its own, since Prefect's calls take their time."""

    def __init__(self, workspace: Workspace, plan: Plan, n_wanted: int) -> None:
        self._workspace, self._plan, self._n_wanted = workspace, plan, n_wanted
        self._n_done = self._n_failed = self._n_in_job = 0
        self._usd: float | None = 0.0  # of the answers, where they are paid by the token
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._artifact: Any = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=lambda: context.run(self._run), daemon=True)

    def __enter__(self) -> Self:
        say(self._workspace, "pairs", f"{self._n_wanted} answers to buy")
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        say(self._workspace, "pairs", self.text())

    def count(self, wanted: Wanted, answer: Answer | None) -> None:
        self._n_done += 1
        self._n_failed += answer is None
        if answer is not None:
            self._usd = None if self._usd is None or answer.usd is None else self._usd + answer.usd

    @contextmanager
    def batch(self) -> Iterator[Callable[[BatchInferenceJob], None]]:
        """For what is seen of a batch job: its answers count as they are made, and later each by itself."""

        def seen(job: BatchInferenceJob) -> None:
            self._n_in_job = (job.job_progress.total_processed_requests if job.job_progress else None) or 0

        try:
            yield seen
        finally:
            self._n_in_job = 0

    def text(self) -> str:
        seconds = time.monotonic() - self._begun
        n_done = self._n_done + self._n_in_job
        rate = n_done / seconds if seconds else 0.0
        left = f", {duration_text((self._n_wanted - n_done) / rate)} left" if rate else ""
        failed = f" ({self._n_failed} failed)" if self._n_failed else ""
        by_token = self._plan.pairs is not None and self._plan.pairs.settings.batch
        usd = self._usd if by_token else replica_usd(self._plan, seconds * N_DEPLOYMENTS)
        return (
            f"{n_done:,} of {self._n_wanted:,} answers{failed}, {rate:.1f} a second{left}, "
            f"{'of unknown price' if usd is None else f'about {usd_text(usd)} USD'}"
        )

    def _run(self) -> None:
        if TaskRunContext.get() is None:
            return
        while not self._over.wait(EVERY_S):
            self._show()
        self._show()

    def _show(self) -> None:
        percent = 100.0 * (self._n_done + self._n_in_job) / self._n_wanted if self._n_wanted else 100.0
        try:
            if self._artifact is None:
                key = f"pairs-{self._workspace.session}"
                self._artifact = create_progress_artifact(percent, key=key, description=self.text())
            else:
                update_progress_artifact(self._artifact, percent, description=self.text())
        except Exception as error:  # what is bought matters more than how it is shown
            logger().warning("pairs: progress could not be shown: %s", error)
