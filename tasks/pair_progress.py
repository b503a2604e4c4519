"""How far the pairs' answers have come, and what they have cost so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from blocks.journal import Answer
from blocks.workspace import Workspace
from preference.cost import usd_text
from preference.plan import Plan
from preference.wire import BatchInferenceJob
from tasks.buying import Wanted
from tasks.counting import CallProgress
from tasks.progress import say
from tasks.spending import replica_usd

N_DEPLOYMENTS = 2


class PairProgress(CallProgress):
    """Both models' answers, bought by the token or by the hour, or made in batch jobs."""

    def __init__(self, workspace: Workspace, plan: Plan, n_wanted: int) -> None:
        super().__init__(f"pairs-{workspace.session}", "answers", n_wanted)
        self._workspace, self._plan = workspace, plan
        self._n_in_job = 0
        self._usd: float | None = 0.0  # of the answers, where they are paid by the token

    def __enter__(self) -> Self:
        say(self._workspace, "pairs", f"{self._n_wanted} answers to buy")
        return super().__enter__()

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        say(self._workspace, "pairs", self.text())

    def count(self, wanted: Wanted, answer: Answer | None) -> None:
        super().count(wanted, answer)
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

    @property
    def n_seen(self) -> int:
        return self._n_done + self._n_in_job

    def text(self) -> str:
        by_token = self._plan.pairs is not None and self._plan.pairs.settings.batch
        usd = self._usd if by_token else replica_usd(self._plan, self.seconds * N_DEPLOYMENTS)
        return f"{super().text()}, {'of unknown price' if usd is None else f'about {usd_text(usd)} USD'}"
