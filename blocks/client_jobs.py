"""DPO and ORPO jobs. Their IDs are chosen beforehand, so that none is started twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from blocks.adopt import create_or_adopt, find_or_none
from blocks.client_base import ClientBase
from blocks.errors import BadAnswer, Refused
from preference.wire import DpoJob, LossConfig

LORA_RANKS = (1, 2, 4, 8, 16, 32)
CONTEXT_STEP = 16  # tokens
STUCK_AFTER_S = 1800.0  # RUNNING can hide a dead job; a job may take this long to its first step


class Jobs(ClientBase):
    def create_dpo_job(self, job_id: str, spec: DpoJob) -> DpoJob:
        """POST dpoJobs?dpoJobId=. The ID goes into the query; lossConfig always says its method."""
        check_dpo_job(spec)
        return DpoJob.parse(
            self._connection.send(
                "POST",
                self._collection("dpoJobs"),
                params={"dpoJobId": self._new_id(job_id)},
                json=self._dpo_body(spec),
            )
        )

    def get_dpo_job(self, job: str) -> DpoJob:
        """GET dpoJobs/{job}."""
        return DpoJob.parse(self._connection.send("GET", self._path("dpoJobs", job)))

    def list_dpo_jobs(self, **query: Any) -> list[DpoJob]:
        """GET dpoJobs, all pages."""
        return [DpoJob.parse(j) for j in self._pages(self._collection("dpoJobs"), "dpoJobs", **query)]

    def cancel_dpo_job(self, job: str) -> None:
        """POST dpoJobs/{job}:cancel, if a session of ours started it. Cancelling twice does no harm."""
        self._touchable("dpoJobs", job)
        self._connection.send("POST", self._path("dpoJobs", job, "cancel"), json={}, repeatable=True)

    def resume_dpo_job(self, job: str) -> DpoJob:
        """POST dpoJobs/{job}:resume, then its state."""
        self._touchable("dpoJobs", job)
        self._connection.send("POST", self._path("dpoJobs", job, "resume"), json={}, repeatable=True)
        return self.get_dpo_job(job)

    def delete_dpo_job(self, job: str) -> None:
        """DELETE dpoJobs/{job}, if a session of ours started it."""
        self._delete("dpoJobs", job)

    def dpo_job_metrics(self, job: str) -> list[dict[str, Any]]:
        """The job's metrics so far, a dict a logged step; [] until there are any.

        GET dpoJobs/{job}:getMetricsFileEndpoint. The keys are not documented: take all as optional.
        """
        answer = self._connection.send("GET", self._path("dpoJobs", job, "getMetricsFileEndpoint"))
        return read_metrics(self._signed_text(str(answer.get("signedUrl") or "")))

    def ensure_dpo_job(self, job_id: str, spec: DpoJob) -> DpoJob:
        """The job with this ID and this spec, started now or by an earlier call."""
        asked = DpoJob.parse(self._dpo_body(spec))
        return create_or_adopt(
            self._connection,
            f"DPO job {job_id}",
            asked,
            lambda: self.create_dpo_job(job_id, spec),
            lambda: find_or_none(lambda: _with_method(self.get_dpo_job(job_id))),
        )

    def _dpo_body(self, spec: DpoJob) -> dict[str, Any]:
        full = spec.model_copy(update={"dataset": self._full("datasets", spec.dataset)})
        return {k: v for k, v in _with_method(full).to_json().items() if k not in ("name", "state", "status")}

    def _signed_text(self, url: str) -> str:
        """The text behind a signed address; "" where there is none yet."""
        return self._connection.get_signed(url) if url else ""


def check_dpo_job(spec: DpoJob) -> None:
    """Refused, with all that the platform or its trainer would refuse later, or misunderstand."""
    config, faults = spec.training_config, []
    if bool(config.base_model) == bool(config.warm_start_from):
        faults.append("give either base_model or warm_start_from")
    if config.lora_rank is not None and config.lora_rank not in LORA_RANKS:
        faults.append(f"lora_rank is {config.lora_rank}; it must be a power of two up to {LORA_RANKS[-1]}")
    context = config.max_context_length
    if context is not None and (context <= 0 or context % CONTEXT_STEP):
        faults.append(f"max_context_length is {context}; it must be a multiple of {CONTEXT_STEP} tokens")
    if config.batch_size_samples is not None and config.batch_size_samples < 1:
        faults.append(f"batch_size_samples is {config.batch_size_samples}; it must be at least 1 pair")
    if config.epochs is not None and config.epochs < 1:
        faults.append(f"epochs is {config.epochs}; it must be at least 1")
    if config.learning_rate is not None and config.learning_rate <= 0:
        faults.append(f"learning_rate is {config.learning_rate}; it must be above 0")
    legacy = {"batchSize", "gradientAccumulationSteps", "jinjaTemplate"} & (config.model_extra or {}).keys()
    faults += [f"{name} is rejected by the trainer" for name in sorted(legacy)]
    faults += _loss_faults(spec.loss_config)
    if faults:
        raise Refused(f"this job was not sent, since it would fail: {'; '.join(faults)}.")


def _loss_faults(loss: LossConfig | None) -> list[str]:
    if loss is None:
        return []
    faults = []
    if loss.method not in ("DPO", "ORPO"):
        faults.append(f"lossConfig.method is {loss.method!r}; preference jobs are DPO or ORPO (unset means GRPO)")
    beta = loss.dpo.beta if loss.dpo else None
    if beta is not None and not 0 < beta < 0.5:
        faults.append(f"beta is {beta}; it must be above 0 and below 0.5")
    weight = loss.orpo.orpo_lambda if loss.orpo else None
    if weight is not None and weight <= 0:
        faults.append(f"orpo_lambda is {weight}; it must be above 0")
    if (loss.method == "DPO" and loss.orpo) or (loss.method == "ORPO" and loss.dpo):
        faults.append(f"lossConfig has settings of another method than {loss.method}")
    return faults


def _with_method(job: DpoJob) -> DpoJob:
    """The job with its method written out: no lossConfig means DPO, one without a method GRPO."""
    if job.loss_config is not None:
        return job
    return job.model_copy(update={"loss_config": LossConfig(method="DPO")})


def read_metrics(text: str) -> list[dict[str, Any]]:
    """The complete lines of a metrics file that may be read while it is written."""
    rows = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break  # the last line is still being written
            raise BadAnswer(f"line {number} of a metrics file is not JSON: {line[:100]!r}.") from error
        if isinstance(row, dict):
            rows.append(row)
    return rows


@dataclass
class ProgressWatch:
    """Tells a job that works from one that only says RUNNING: by new lines of metrics, and by its state.

    Suspected stuck is a report, not an end: the job is left alone.
    """

    clock: Callable[[], float]
    stuck_after_s: float = STUCK_AFTER_S
    _moved_at: float | None = field(default=None, init=False)
    _seen: tuple[str, int] = field(default=("", -1), init=False)

    def saw(self, job: DpoJob, n_metrics: int) -> float | None:
        """Seconds without movement once they exceed stuck_after_s; None while there is no suspicion."""
        now, seen = self.clock(), (job.state, n_metrics)
        if self._moved_at is None or seen != self._seen:
            self._moved_at, self._seen = now, seen
        idle_s = now - self._moved_at
        return idle_s if job.state == "JOB_STATE_RUNNING" and idle_s > self.stuck_after_s else None
