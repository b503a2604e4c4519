"""Batch inference: many requests as a dataset, answered within hours or days for half the price."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from blocks.adopt import create_or_adopt, find_or_none
from blocks.bulk import ChatRequest, ChatResult
from blocks.client_datasets import Datasets
from blocks.errors import BadAnswer, Failed, PlatformError, Refused, Unavailable
from preference.wire import FAILED_JOB_STATES, SUCCEEDED_JOB_STATES, BatchInferenceJob, ChatCompletion

DAY_S = 86_400.0
# errors of a single request that say nothing against it, by name and by number
_PASSING: set[object] = {"UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "UNKNOWN"}
_PASSING |= {408, 429, 500, 502, 503, 504, "408", "429", "500", "502", "503", "504"}


class Batch(Datasets):
    def create_batch_inference_job(self, job_id: str, spec: BatchInferenceJob) -> BatchInferenceJob:
        """POST batchInferenceJobs?batchInferenceJobId=: half the price, hours to days."""
        return BatchInferenceJob.parse(
            self._connection.send(
                "POST",
                self._collection("batchInferenceJobs"),
                params={"batchInferenceJobId": self._new_id(job_id)},
                json=self._batch_body(spec),
            )
        )

    def get_batch_inference_job(self, job: str) -> BatchInferenceJob:
        """GET batchInferenceJobs/{job}."""
        return BatchInferenceJob.parse(self._connection.send("GET", self._path("batchInferenceJobs", job)))

    def list_batch_inference_jobs(self, **query: Any) -> list[BatchInferenceJob]:
        """GET batchInferenceJobs, all pages."""
        path = self._collection("batchInferenceJobs")
        return [BatchInferenceJob.parse(j) for j in self._pages(path, "batchInferenceJobs", **query)]

    def delete_batch_inference_job(self, job: str) -> None:
        """DELETE batchInferenceJobs/{job}, if a session of ours started it."""
        self._delete("batchInferenceJobs", job)

    def ensure_batch_inference_job(self, job_id: str, spec: BatchInferenceJob) -> BatchInferenceJob:
        """The batch job with this ID and this spec, started now or by an earlier call."""
        return create_or_adopt(
            self._connection,
            f"batch inference job {job_id}",
            BatchInferenceJob.parse(self._batch_body(spec)),
            lambda: self.create_batch_inference_job(job_id, spec),
            lambda: find_or_none(lambda: self.get_batch_inference_job(job_id)),
        )

    def _batch_body(self, spec: BatchInferenceJob) -> dict[str, Any]:
        names = {"input_dataset_id": self._full("datasets", spec.input_dataset_id)}
        if spec.output_dataset_id:
            names["output_dataset_id"] = self._full("datasets", spec.output_dataset_id)
        body = spec.model_copy(update=names).to_json()
        return {k: v for k, v in body.items() if k not in ("name", "state", "status", "jobProgress")}

    def start_batch(self, job_id: str, requests: Iterable[ChatRequest], folder: Path) -> BatchInferenceJob:
        """Ask for all of them, of one model, by one batch job; or adopt the one that an earlier call started."""
        lines, model = batch_lines(requests)
        source = folder / f"{job_id}-in.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        source.write_text("".join(lines))
        self.ensure_dataset(f"{job_id}-in", source, example_count=len(lines))
        spec = BatchInferenceJob(model=model, input_dataset_id=f"{job_id}-in", output_dataset_id=f"{job_id}-out")
        return self.ensure_batch_inference_job(job_id, spec)

    def batch_answers(self, job_id: str, folder: Path) -> Iterator[tuple[str, ChatCompletion | PlatformError]]:
        """(key, completion or error) of a batch job that has ended well; the files stay in `folder`."""
        return read_batch(self.download_dataset(f"{job_id}-out", folder / f"{job_id}-out"))

    def chat_in_batch(
        self, job_id: str, requests: Iterable[ChatRequest], folder: Path, *, timeout_s: float = DAY_S
    ) -> list[ChatResult]:
        """The results of all requests, in their order, by one batch job. All must be for one model.

        May be called again after a crash: it goes on with the job and the datasets that are there. The files
        stay in `folder`. A request that the platform did not answer is a result with its error.
        """
        asked = list(requests)
        self.start_batch(job_id, asked, folder)
        self.wait_for_batch(job_id, timeout_s=timeout_s)
        answers = dict(self.batch_answers(job_id, folder))
        return [batch_result(request, answers.get(request.key)) for request in asked]

    def wait_for_batch(
        self,
        job: str,
        *,
        timeout_s: float = DAY_S,
        every_s: float = 10.0,
        on_look: Callable[[BatchInferenceJob], None] = lambda job: None,
    ) -> BatchInferenceJob:
        """The job once it has ended well. Failed where it has not. on_look is called with each state that is seen."""

        def look() -> BatchInferenceJob:
            seen = self.get_batch_inference_job(job)
            on_look(seen)
            return seen

        return self._wait(f"batch inference job {job}", look, _has_succeeded, timeout_s=timeout_s, every_s=every_s)


def batch_lines(requests: Iterable[ChatRequest]) -> tuple[list[str], str]:
    """A line of JSON for each request, and their one model."""
    lines, models, keys = [], set(), set()
    for request in requests:
        body = {"messages": list(request.messages), **request.params}
        lines.append(json.dumps({"custom_id": request.key, "body": body}, ensure_ascii=False) + "\n")
        models.add(request.model)
        keys.add(request.key)
    if len(models) != 1 or len(keys) != len(lines):
        raise Refused(
            f"a batch has one model and a key of its own for each request; found {len(models)} models "
            f"and {len(keys)} keys for {len(lines)} requests."
        )
    return lines, models.pop()


def read_batch(files: Iterable[Path]) -> Iterator[tuple[str, ChatCompletion | PlatformError]]:
    """(custom_id, completion or error) of each line of a batch job's output and error files."""
    for path in files:
        with path.open() as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                    yield str(row["custom_id"]), _answer(row)
                except (ValueError, KeyError, TypeError) as error:
                    raise BadAnswer(f"{path.name}:{number} is not a batch job's answer: {line[:100]!r}.") from error


def _answer(row: dict[str, Any]) -> ChatCompletion | PlatformError:
    if row.get("error"):
        error = row["error"]
        message = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        told = f"the batch job did not answer {row['custom_id']!r}: {message}"
        code = error.get("code") if isinstance(error, dict) else None
        return (Unavailable if code in _PASSING else Refused)(told, api_message=message)
    response = row["response"]
    try:
        # OpenAI's files have the completion in response.body
        return ChatCompletion.model_validate(response.get("body", response))
    except ValidationError as error:
        return BadAnswer(f"the batch job's answer to {row['custom_id']!r} is no chat completion: {error}")


def batch_result(request: ChatRequest, answer: ChatCompletion | PlatformError | None) -> ChatResult:
    if isinstance(answer, ChatCompletion):
        return ChatResult(request, answer, None, tries=1, latency_s=float("nan"))
    missing = BadAnswer(f"the batch job has neither an answer nor an error for {request.key!r}.")
    return ChatResult(request, None, answer or missing, tries=1, latency_s=float("nan"))


def _has_succeeded(job: BatchInferenceJob) -> bool:
    if job.state in FAILED_JOB_STATES:
        said = f"{job.status.code}: {job.status.message}" if job.status else "no reason given"
        raise Failed(f"batch inference job {job.name} is {job.state}: {said}")
    return job.state in SUCCEEDED_JOB_STATES
