"""The queue of training jobs: so many at once, each in a child process that stays warm for the next.

A job's life is in the store; a server that starts finds there what was under way and goes on with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import shutil
from pathlib import Path

from local_server.billing import Ledger
from local_server.config import ACCOUNT, Settings
from local_server.datasets import Datasets
from local_server.errors import ApiError, precondition
from local_server.models import Models
from local_server.store import Record, Store
from local_server.trainer import JobFailed, Trainer, job_folder, warm_key
from preference.wire import TERMINAL_JOB_STATES

logger = logging.getLogger("local_server")

DPO_JOBS = f"accounts/{ACCOUNT}/dpoJobs"
MAX_OVERTAKES = 16  # by jobs for which a child is warm; then the oldest goes first
RESUMABLE = ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_PAUSED", "JOB_STATE_EXPIRED")


def training_seed(job_id: str) -> int:
    """The seed of a job, from its ID: the same job trains the same tomorrow. 31 bits."""
    return int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:4], "big") & 0x7FFFFFFF


class TrainingQueue:
    def __init__(self, settings: Settings, store: Store, datasets: Datasets, models: Models, ledger: Ledger) -> None:
        self._settings = settings
        self._store = store
        self._ledger = ledger
        self._trainers = [Trainer(number, settings, store, datasets, models) for number in range(settings.jobs_at_once)]
        self._overtaken = 0
        self._changed = asyncio.Condition()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._interrupted: set[str] = set()
        self._workers: list[asyncio.Task[None]] = []

    def folder(self, job: Record) -> Path:
        return job_folder(self._settings.home, job)

    async def start(self) -> None:
        self._recover()
        self._workers = [asyncio.create_task(self._work(trainer)) for trainer in self._trainers]

    async def close(self) -> None:
        """End the children; the jobs stay RUNNING in the store and go on when the server starts again."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def _recover(self) -> None:
        for job in self._store.all(DPO_JOBS):
            if job.state == "JOB_STATE_CANCELLING":
                self._end(job.name, "JOB_STATE_CANCELLED")
            elif job.state not in TERMINAL_JOB_STATES:
                resume = job.private.get("resume", False) or job.state == "JOB_STATE_RUNNING"
                self._store.update(job.name, {"state": "JOB_STATE_PENDING"}, {"resume": resume})

    async def wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def cancel(self, name: str) -> None:
        """Ends a waiting job at once and a running one within seconds. Raises FAILED_PRECONDITION if it has ended."""
        job = self._store.get(name)
        if job.state in TERMINAL_JOB_STATES:
            raise precondition(f"{name} cannot be cancelled: it is {job.state}")
        if name not in self._running:
            self._end(name, "JOB_STATE_CANCELLED")
        elif job.state != "JOB_STATE_CANCELLING":
            self._store.update(name, {"state": "JOB_STATE_CANCELLING"})
            self._interrupt(name)

    async def resume(self, name: str) -> None:
        """Queue a failed or cancelled job again, from its last checkpoint."""
        job = self._store.get(name)
        if job.state not in RESUMABLE:
            raise precondition(f"{name} cannot be resumed: it is {job.state}")
        self._store.update(
            name, {"state": "JOB_STATE_PENDING", "status": None, "completedTime": None}, {"resume": True}
        )
        await self.wake()

    async def delete(self, name: str) -> None:
        """Cancels first if need be. The trained model stays."""
        job = self._store.get(name)
        if task := self._running.get(name):
            self._interrupt(name)
            await asyncio.wait([task])
        self._store.delete(name)
        shutil.rmtree(self.folder(job), ignore_errors=True)

    def _interrupt(self, name: str) -> None:
        """Once: a second cancellation would interrupt the ending of the child that the first one began."""
        if name not in self._interrupted:
            self._interrupted.add(name)
            self._running[name].cancel()

    async def _work(self, trainer: Trainer) -> None:
        try:
            while True:
                job = await self._next(trainer)
                task = asyncio.create_task(self._run(trainer, job))
                self._running[job.name] = task
                try:
                    await asyncio.wait([task])
                    self._settle_cancelled(job.name)
                finally:
                    if not task.done():  # the server is closing
                        task.cancel()
                        await asyncio.wait([task])
                    del self._running[job.name]
                    self._interrupted.discard(job.name)
        finally:
            await trainer.let_go()

    async def _next(self, trainer: Trainer) -> Record:
        """The oldest waiting job, or one with the base and dataset that the trainer's child is warm for."""
        while True:
            if job := self._choose(trainer):
                return job
            timeout = self._settings.idle_child_s if trainer.warm_for else None
            try:
                async with self._changed:
                    await asyncio.wait_for(self._changed.wait(), timeout)
            except TimeoutError:
                await trainer.let_go()

    def _choose(self, trainer: Trainer) -> Record | None:
        waiting = [
            job
            for job in self._store.all(DPO_JOBS)
            if job.state == "JOB_STATE_PENDING" and job.name not in self._running
        ]
        if not waiting:
            return None
        siblings = [job for job in waiting if warm_key(job) == trainer.warm_for]
        if siblings and siblings[0].name != waiting[0].name and self._overtaken < MAX_OVERTAKES:
            self._overtaken += 1
            return siblings[0]
        self._overtaken = 0
        return waiting[0]

    async def _run(self, trainer: Trainer, job: Record) -> None:
        """One job from VALIDATING to its end. Raises nothing but CancelledError."""
        try:
            await trainer.train(job)
            self._end(job.name, "JOB_STATE_COMPLETED")
        except asyncio.CancelledError:
            await trainer.let_go()
            raise
        except JobFailed as failure:
            self._end(job.name, "JOB_STATE_FAILED", failure.code, str(failure))
        except ApiError as error:
            self._end(job.name, "JOB_STATE_FAILED", error.code, error.message)
        except Exception as error:  # one job's trouble must not take the queue with it
            logger.exception("%s failed", job.name)
            await trainer.let_go()
            self._end(job.name, "JOB_STATE_FAILED", "INTERNAL", f"{type(error).__name__}: {error}")

    def _settle_cancelled(self, name: str) -> None:
        """Outside of the task, which may have been cancelled before its first step."""
        job = self._store.find(name)
        if job and job.state == "JOB_STATE_CANCELLING":
            self._end(name, "JOB_STATE_CANCELLED")

    def _end(self, name: str, state: str, code: str = "OK", message: str = "") -> None:
        job = self._store.find(name)
        if job is None:  # deleted meanwhile
            return
        share = 1.0 if state == "JOB_STATE_COMPLETED" else share_done(self.folder(job) / "metrics.jsonl")
        self._ledger.training(job, share - job.private.get("billed_share", 0.0))
        ended = {"state": state, "status": {"code": code, "message": message}, "completedTime": self._store.now()}
        self._store.update(name, ended, {"billed_share": share})
        logger.info("%s: %s %s", name, state, message)


def share_done(metrics: Path) -> float:
    """How much of a job its last metrics line says was done, 0 to 1."""
    try:
        line = json.loads(metrics.read_bytes().splitlines()[-1])
        return float(min(1.0, line["step"] / line["total_steps"]))
    except (OSError, IndexError, KeyError, ValueError, TypeError, ZeroDivisionError):
        return 0.0
