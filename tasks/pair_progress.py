"""How far the answers have come: a progress artifact with rate, time left and spend."""

from __future__ import annotations

import contextvars
import threading
import time
from typing import Any, Self

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

from blocks.journal import Answer
from blocks.workspace import Workspace
from preference.cost import duration_text, usd_text
from preference.plan import Plan
from tasks.buying import Wanted
from tasks.progress import logger, say
from tasks.spending import replica_usd

EVERY_S = 2.0
N_DEPLOYMENTS = 2


class PairProgress:
    """Counts answers as they come, and shows them from a thread of its own, since Prefect's calls take their time."""

    def __init__(self, workspace: Workspace, plan: Plan, n_wanted: int) -> None:
        self._workspace, self._plan, self._n_wanted = workspace, plan, n_wanted
        self._n_done = self._n_failed = 0
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

    def text(self) -> str:
        seconds = time.monotonic() - self._begun
        rate = self._n_done / seconds if seconds else 0.0
        left = f", {duration_text((self._n_wanted - self._n_done) / rate)} left" if rate else ""
        failed = f" ({self._n_failed} failed)" if self._n_failed else ""
        usd = replica_usd(self._plan, seconds * N_DEPLOYMENTS)
        return (
            f"{self._n_done:,} of {self._n_wanted:,} answers{failed}, {rate:.1f} a second{left}, "
            f"{'of unknown price' if usd is None else f'about {usd_text(usd)} USD'}"
        )

    def _run(self) -> None:
        if TaskRunContext.get() is None:
            return
        while not self._over.wait(EVERY_S):
            self._show()
        self._show()

    def _show(self) -> None:
        percent = 100.0 * self._n_done / self._n_wanted if self._n_wanted else 100.0
        try:
            if self._artifact is None:
                key = f"pairs-{self._workspace.session}"
                self._artifact = create_progress_artifact(percent, key=key, description=self.text())
            else:
                update_progress_artifact(self._artifact, percent, description=self.text())
        except Exception as error:  # what is bought matters more than how it is shown
            logger().warning("pairs: progress could not be shown: %s", error)
