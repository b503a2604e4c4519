"""One place in which jobs are trained, one after another, by a child process that stays warm between them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_server import training_spec, weights
from local_server.catalogue import BaseModelEntry
from local_server.children import Child
from local_server.config import Settings, usable_cores
from local_server.datasets import Datasets
from local_server.models import Models
from local_server.rows import RowFault, check_examples, check_preference_rows
from local_server.store import Record, Store
from local_server.tokens import billable_tokens_an_epoch
from local_server.training.environment import child_environment

WarmKey = tuple[str, str]  # base model, dataset


class JobFailed(Exception):
    """A job's end that is not the server's fault: code as in Status, message for the user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NeverBegun(Exception):
    """A warm child went away before it began with the job."""


class Trainer:
    def __init__(self, number: int, settings: Settings, store: Store, datasets: Datasets, models: Models) -> None:
        """number: from 0; the GPU that is this place's own where several jobs run at once."""
        self._number = number
        self._settings = settings
        self._store = store
        self._datasets = datasets
        self._models = models
        self._child: Child | None = None
        self.warm_for: WarmKey | None = None

    async def train(self, job: Record) -> None:
        """From VALIDATING until its adapter is a model. Raises JobFailed. A cancelled call leaves a child to let go."""
        self._store.update(job.name, {"state": "JOB_STATE_VALIDATING"})
        dataset = await self._validated_dataset(job)
        entry, base_folder = await self._base_model(job)
        await self._count_tokens(job, dataset, base_folder)
        folder = job_folder(self._settings.home, job)
        folder.mkdir(parents=True, exist_ok=True)
        request = training_spec.child_request(job, folder, base_folder, dataset, entry.lora_layers)
        with (folder / "log.txt").open("ab", buffering=0) as log:
            try:
                await self._ask_child(job, request, log.write)
            except NeverBegun:  # the job before this one has taken it along, say by running out of memory
                await self._ask_child(job, request, log.write)
        await self._keep_adapter(job, folder / "adapter")

    async def let_go(self) -> None:
        """End the child, whatever it is doing."""
        child, self._child, self.warm_for = self._child, None, None
        if child:
            await child.stop()

    async def _validated_dataset(self, job: Record) -> Path:
        dataset = self._store.find(job.body["dataset"])
        if dataset is None:
            raise JobFailed("NOT_FOUND", f"{job.body['dataset']} has been deleted")
        path = await asyncio.to_thread(self._datasets.single_file, dataset)
        try:
            rows: int | None = dataset.private.get("preference_rows")
            if rows is None:
                rows = await asyncio.to_thread(check_preference_rows, path)
                self._store.update(dataset.name, private={"preference_rows": rows})
            check_examples(rows, job.body["trainingConfig"].get("epochs") or 1)
        except RowFault as fault:
            raise JobFailed("INVALID_ARGUMENT", f"{dataset.name}: {fault}") from None
        return path

    async def _base_model(self, job: Record) -> tuple[BaseModelEntry, Path]:
        entry = self._models.base(job.private["base_model"])
        if entry is None:
            raise JobFailed("NOT_FOUND", f"{job.private['base_model']} is no longer in the catalogue")
        try:
            return entry, await asyncio.to_thread(weights.ensure, entry, self._settings.home)
        except weights.WeightsError as error:
            raise JobFailed("FAILED_PRECONDITION", str(error)) from None

    async def _count_tokens(self, job: Record, dataset: Path, base_folder: Path) -> None:
        """What the job will be billed for; counted once for a dataset and a base model."""
        known: dict[str, int] = self._store.get(job.body["dataset"]).private.get("billable_tokens", {})
        base = job.private["base_model"]
        if base not in known:
            known[base] = await asyncio.to_thread(billable_tokens_an_epoch, dataset, base_folder)
            self._store.update(job.body["dataset"], private={"billable_tokens": known})
        self._store.update(job.name, private={"billable_tokens_an_epoch": known[base]})

    async def _ask_child(self, job: Record, request: dict[str, Any], write_log: Callable[[bytes], object]) -> None:
        child, fresh = await self._warm_child(job)
        child.write_log = write_log
        try:
            await child.send(request)
            await self._follow(child, job, fresh)
        finally:
            child.write_log = lambda _: None

    async def _warm_child(self, job: Record) -> tuple[Child, bool]:
        """A child for the job, and whether it is a new one."""
        key = warm_key(job)
        if self._child and self._child.alive and self.warm_for == key:
            return self._child, False
        await self.let_go()
        self._child = await Child.start(
            self._settings.training_command,
            self._settings.home / "children",
            environment=_environment(self._settings, self._number),
            memory_limit=self._settings.memory_limit,
        )
        self.warm_for = key
        return self._child, True

    async def _follow(self, child: Child, job: Record, fresh: bool) -> None:
        """Read the child's events until the job is done. Raises JobFailed, NeverBegun."""
        begun = False
        while (event := await child.receive()) is not None:
            kind = event.get("event") if event.get("job") == job.id else None
            if kind == "running":
                begun = True
                self._store.update(job.name, {"state": "JOB_STATE_RUNNING"}, {"resume": True})
            elif kind == "failed":
                raise JobFailed(str(event.get("code", "INTERNAL")), str(event.get("message", "no reason was given")))
            elif kind == "done":
                return
        reason = await child.why_it_ended()
        await self.let_go()
        if not begun and not fresh:
            raise NeverBegun
        raise JobFailed("INTERNAL", f"the training process of this job is gone: {reason}")

    async def _keep_adapter(self, job: Record, adapter: Path) -> None:
        """The adapter becomes a model. A kill in between repeats it: the job is not COMPLETED yet."""
        self._store.update(job.name, {"state": "JOB_STATE_WRITING_RESULTS"})
        if not (adapter / "adapter_config.json").is_file():
            raise JobFailed("INTERNAL", "the training process said it was done and left no adapter")
        name = job.private["output_model"]
        await asyncio.to_thread(_copy_folder, adapter, self._models.adapter_folder(name))
        rank = job.body["trainingConfig"].get("loraRank") or training_spec.DEFAULT_LORA_RANK
        self._models.register(name, job.private["base_model"], job, rank)


def job_folder(home: Path, job: Record) -> Path:
    return home / "jobs" / job.id


def warm_key(job: Record) -> WarmKey:
    return job.private["base_model"], job.body["dataset"]


def _environment(settings: Settings, gpu: int) -> dict[str, str]:
    """One GPU for each slot, or an equal share of the cores."""
    environment = child_environment(gpu=gpu if settings.jobs_at_once > 1 else None, trains=True)
    threads = max(1, usable_cores() // settings.jobs_at_once)
    return {"OMP_NUM_THREADS": str(threads), **environment}


def _copy_folder(source: Path, target: Path | None) -> None:
    """All of it or nothing: the copy appears by a rename."""
    assert target is not None
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
