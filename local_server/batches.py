"""Batch inference jobs: a dataset of requests answered by the generation child, one job after another.

Answers are appended as they come, a line each with the request's custom_id; a job that was interrupted asks only for
what is missing. At the end the answers become a dataset, with the failures in a file of their own.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from local_server import weights
from local_server.addressing import Target
from local_server.billing import Ledger
from local_server.chat import ChatRequest, child_request, completion
from local_server.config import ACCOUNT
from local_server.datasets import DATASETS, Datasets
from local_server.errors import ApiError, from_validation, invalid
from local_server.generator import Generator
from local_server.models import Models
from local_server.store import Record, Store
from preference.wire import TERMINAL_JOB_STATES, full_name, resource_id

logger = logging.getLogger("local_server")

BATCH_JOBS = f"accounts/{ACCOUNT}/batchInferenceJobs"
IN_FLIGHT = 64  # requests of a job that wait in the child together
RESULTS, ERRORS = "results.jsonl", "errors.jsonl"


class BatchQueue:
    def __init__(
        self, home: Path, store: Store, datasets: Datasets, models: Models, generator: Generator, ledger: Ledger
    ) -> None:
        self._home = home
        self._store = store
        self._datasets = datasets
        self._models = models
        self._generator = generator
        self._ledger = ledger
        self._changed = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._running: tuple[str, asyncio.Task[None]] | None = None

    def start(self) -> None:
        for job in self._store.all(BATCH_JOBS):
            if job.state not in TERMINAL_JOB_STATES:
                self._store.update(job.name, {"state": "JOB_STATE_PENDING"})
        self._changed.set()
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """The job under way goes on when the server starts again."""
        if self._worker:
            self._worker.cancel()
            await asyncio.wait([self._worker])

    def submit(self, name: str, body: dict[str, Any]) -> Record:
        record = self._store.create(name, {**body, "state": "JOB_STATE_CREATING"})
        self._store.update(name, {"state": "JOB_STATE_PENDING"})
        self._changed.set()
        return record

    async def delete(self, name: str) -> None:
        """Ends the job if it runs. Its output dataset, if there is one, stays."""
        job = self._store.get(name)
        self._store.delete(name)
        if self._running and self._running[0] == name:
            self._running[1].cancel()
            await asyncio.wait([self._running[1]])
        self._drop_files(job)

    def _drop_files(self, job: Record) -> None:
        for kind in (RESULTS, ERRORS):
            self._file(job, kind).unlink(missing_ok=True)

    def _file(self, job: Record, kind: str) -> Path:
        return self._home / "batches" / f"{job.id}.{kind}"

    async def _work(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while job := next((job for job in self._store.all(BATCH_JOBS) if job.state == "JOB_STATE_PENDING"), None):
                task = asyncio.create_task(self._run(job))
                self._running = (job.name, task)
                try:
                    await asyncio.wait([task])
                finally:
                    task.cancel()
                    await asyncio.wait([task])
                    self._running = None

    async def _run(self, job: Record) -> None:
        try:
            await self._answer_all(job)
        except ApiError as error:
            self._end(job.name, "JOB_STATE_FAILED", error.code, error.message)
        except Exception as error:  # one job's trouble must not take the queue with it
            logger.exception("%s failed", job.name)
            self._end(job.name, "JOB_STATE_FAILED", "INTERNAL", f"{type(error).__name__}: {error}")

    async def _answer_all(self, job: Record) -> None:
        self._store.update(job.name, {"state": "JOB_STATE_VALIDATING"})
        target = await self._target(job.body["model"])
        dataset = self._store.get(full_name(ACCOUNT, "datasets", job.body["inputDatasetId"]))
        path = await asyncio.to_thread(self._datasets.single_file, dataset)
        requests = await asyncio.to_thread(lambda: list(_requests(path)))
        tally = _Tally(len(requests))
        self._file(job, RESULTS).parent.mkdir(parents=True, exist_ok=True)
        done = {line["custom_id"] for line in _whole_lines(self._file(job, RESULTS)) if tally.add(line)}
        self._store.update(job.name, {"state": "JOB_STATE_RUNNING", "jobProgress": tally.progress()})
        self._file(job, ERRORS).unlink(missing_ok=True)  # what failed before is tried again
        await self._ask(job, target, [(id, body) for id, body in requests if id not in done], tally)
        self._store.update(job.name, {"state": "JOB_STATE_WRITING_RESULTS", "jobProgress": tally.progress()})
        await self._publish(job)
        self._end(job.name, "JOB_STATE_COMPLETED")
        self._drop_files(job)

    async def _target(self, model: str) -> Target:
        """A batch needs no deployment. Raises ApiError."""
        name = model.partition("#")[0]
        base = self._models.base_name(name)
        entry = self._models.base(base)
        if entry is None:
            raise ApiError("NOT_FOUND", f"{base} is not in the catalogue")
        try:
            folder = await asyncio.to_thread(weights.ensure, entry, self._home)
        except weights.WeightsError as error:
            raise ApiError("FAILED_PRECONDITION", str(error)) from None
        return Target(name, base, "", folder, self._models.adapter_folder(name))

    async def _ask(
        self, job: Record, target: Target, requests: list[tuple[str, dict[str, Any]]], tally: _Tally
    ) -> None:
        defaults, waiting = _defaults(job), iter(requests)

        async def ask_next() -> None:
            for id, body in waiting:  # shared by all: each takes the next
                line = await self._answer(job, target, id, {**defaults, **body})
                _append(self._file(job, ERRORS if "error" in line else RESULTS), line)
                tally.add(line)
                self._store.update(job.name, {"jobProgress": tally.progress()})

        async with asyncio.TaskGroup() as group:
            for _ in range(min(IN_FLIGHT, len(requests))):
                group.create_task(ask_next())

    async def _answer(self, job: Record, target: Target, id: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            chat = ChatRequest.model_validate({**body, "model": target.model, "stream": False})
            chat.refuse_what_is_not_done()
            answer = await self._generator.answer(child_request(chat, target))
        except ValidationError as error:
            return {"custom_id": id, "error": _shown(from_validation(error, "body"))}
        except ApiError as error:
            return {"custom_id": id, "error": _shown(error)}
        self._ledger.inference("BATCH_INFERENCE", job.name, target.model, answer["usage"])
        return {"custom_id": id, "response": completion(f"batch-{id}", 0, chat, answer)}

    async def _publish(self, job: Record) -> None:
        """The output dataset: results, and the failures beside them."""
        output = resource_id(job.body["outputDatasetId"])
        kept = [path for path in (self._file(job, RESULTS), self._file(job, ERRORS)) if path.exists()]
        count = await asyncio.to_thread(lambda: sum(len(list(_whole_lines(path))) for path in kept))
        if self._store.find(f"{DATASETS}/{output}") is None:
            self._datasets.create(output, {"exampleCount": str(count), "format": "CHAT", "sourceJobName": job.name})
        # copied, not moved: a kill in between must not lose answers that were made
        names = {path.name.removeprefix(f"{job.id}."): path for path in kept}
        await self._datasets.fill(self._store.get(f"{DATASETS}/{output}"), names)

    def _end(self, name: str, state: str, code: str = "OK", message: str = "") -> None:
        if self._store.find(name):
            self._store.update(name, {"state": state, "status": {"code": code, "message": message}})


class _Tally:
    """jobProgress, counted up."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._good = self._bad = self._rows = self._input = self._output = 0

    def add(self, line: dict[str, Any]) -> bool:
        """True, so that it may stand in a comprehension's condition."""
        if "error" in line:
            self._bad += 1
            return True
        usage = line["response"]["usage"]
        self._good += 1
        self._rows += len(line["response"]["choices"])
        self._input += usage["prompt_tokens"]
        self._output += usage["completion_tokens"]
        return True

    def progress(self) -> dict[str, int]:
        done = self._good + self._bad
        return {
            "percent": 100 * done // self._total if self._total else 100,
            "totalInputRequests": self._total,
            "totalProcessedRequests": done,
            "successfullyProcessedRequests": self._good,
            "failedRequests": self._bad,
            "outputRows": self._rows,
            "inputTokens": self._input,
            "outputTokens": self._output,
        }


def _requests(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """custom_id and body of each line. Raises INVALID_ARGUMENT with the line."""
    seen: set[str] = set()
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            row = json.loads(text)
            id, body = row.get("custom_id"), row.get("body")
            if not isinstance(id, str) or not isinstance(body, dict):
                raise invalid(f"line {number}: expected custom_id, a text, and body, an object")
            if id in seen:
                raise invalid(f"line {number}: custom_id {id!r} is there twice")
            seen.add(id)
            yield id, body


def _defaults(job: Record) -> dict[str, Any]:
    """The job's inference parameters in the words of a chat request; a line's own come before them."""
    stated = job.body.get("inferenceParameters") or {}
    names = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p", "topK": "top_k", "n": "n"}
    found = {theirs: stated[ours] for ours, theirs in names.items() if stated.get(ours) is not None}
    try:
        extra = json.loads(stated.get("extraBody") or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise invalid("inferenceParameters.extraBody must be a JSON object as a string")
    return {**found, **extra}


def _shown(error: ApiError) -> dict[str, str]:
    return {"code": error.code, "message": error.message}


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that a kill may have cut: what is not whole is dropped from it, too."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        path.write_bytes(whole)
    for line in whole.splitlines():
        yield json.loads(line)
