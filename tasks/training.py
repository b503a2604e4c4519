"""Phase 3: one trial is one job on the platform, from its submission to its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from blocks.client import FireworksClient
from blocks.errors import NotFound, NotReached, PlatformError, Refused, Unavailable
from blocks.fireworks import FireworksPlatform
from blocks.workspace import Workspace
from preference.health import not_a_number, training_health
from preference.ledger import OutOfBudget
from preference.plan import Plan, cheapest_first
from preference.targets import Stopped
from preference.trials import Trial
from preference.wire import FAILED_JOB_STATES, SUCCEEDED_JOB_STATES, TERMINAL_JOB_STATES, DpoJob, full_name
from tasks import spending
from tasks.live import TrialProgress
from tasks.progress import say
from tasks.slots import Slots, StoppedEarly
from tasks.steps import Steps

T = TypeVar("T")

POLL_S = 2.0
NOT_STARTED = "NOT_STARTED"  # ours: no job was asked for
WORDS = {NOT_STARTED: "not started", "JOB_STATE_CANCELLED": "cancelled"}
STOPPED = "stopped.json"
PATIENCE_S = 900.0  # how long the platform may be away before the run gives up; its jobs go on


class TrainedTrial(BaseModel):
    """How a trial's job ended; `model` is the tuned model's full name where it succeeded."""

    trial: Trial
    job_state: str
    model: str | None = None
    message: str = ""
    metrics: list[dict[str, Any]] = []
    created: datetime | None = None  # by the platform's clock
    completed: datetime | None = None
    seed: int | None = None  # where the platform tells it

    @property
    def succeeded(self) -> bool:
        return self.model is not None


@task(task_run_name="train-{trial.name}", cache_policy=NO_CACHE)  # not retried: it adopts its job when run anew
def train_trial(
    platform: FireworksPlatform, workspace: Workspace, trial: Trial, dataset: str, slots: Slots
) -> TrainedTrial:
    """Submit the trial's job, or find the one that an earlier process submitted, and follow it to its end."""
    done = workspace.read(f"trials/{trial.name}/result.json", TrainedTrial)
    if done is not None:
        return done
    with platform.get_client(workspace.session) as client:
        try:
            with slots.hold(trial.name):
                result = _train(client, workspace, trial, dataset, slots)
        except StoppedEarly as stop:
            result = _end_early(client, workspace, trial, str(stop))
    workspace.write(f"trials/{trial.name}/result.json", result)
    outcome = "trained" if result.succeeded else f"{WORDS.get(result.job_state, 'failed')}: {result.message}"
    say(workspace, "sweep", f"{trial.name} ({trial.label}) {outcome}", trial=trial.name)
    for doubt in training_health(trial.method, result.metrics):
        say(workspace, "sweep", f"{trial.name}: {doubt}", trial=trial.name)
    return result


def _train(client: FireworksClient, workspace: Workspace, trial: Trial, dataset: str, slots: Slots) -> TrainedTrial:
    try:
        spending.reserve_training(workspace, trial)
    except OutOfBudget as error:
        slots.stop(error)  # those that run are cancelled as the run ends
        raise
    workspace.write(f"trials/{trial.name}/submitted.json", trial)
    submitted = False
    try:
        job = _patiently(lambda: client.ensure_dpo_job(trial.job_id, trial.job_spec(dataset)), slots)
        submitted = True
        if job.state == "JOB_STATE_CANCELLED":  # by an earlier process of this session, on its way out
            job = client.resume_dpo_job(trial.job_id)
        result = follow(client, workspace, trial, job, slots)
    except Refused as error:  # this trial's end, not the sweep's
        result = TrainedTrial(trial=trial, job_state="JOB_STATE_FAILED", message=str(error))
    billed = result.job_state in SUCCEEDED_JOB_STATES
    spending.settle_training(workspace, trial, completed=billed, refused=not submitted)
    return result


def _end_early(client: FireworksClient, workspace: Workspace, trial: Trial, reason: str) -> TrainedTrial:
    """What runs is cancelled and looked at until it has ended; what waited was never started.

    A job that completes before the cancellation reaches it has a model, and keeps it.
    """
    if not _under_way(workspace, trial):
        return TrainedTrial(trial=trial, job_state=NOT_STARTED, message=reason)
    try:
        _cancel(client, workspace, trial)
    except NotFound:  # the process died between the note and the call
        spending.settle_training(workspace, trial, completed=False, refused=True)
        return TrainedTrial(trial=trial, job_state=NOT_STARTED, message=reason)
    result = follow(client, workspace, trial, client.get_dpo_job(trial.job_id), Slots(1))
    spending.settle_training(workspace, trial, completed=result.job_state in SUCCEEDED_JOB_STATES)
    return result if result.succeeded else result.model_copy(update={"message": reason})


def _cancel(client: FireworksClient, workspace: Workspace, trial: Trial) -> None:
    """Unless it has ended; by itself in between is as good. Raises NotFound."""
    try:
        if client.get_dpo_job(trial.job_id).state not in TERMINAL_JOB_STATES:
            client.cancel_dpo_job(trial.job_id)
    except NotFound:
        raise
    except Refused as error:
        say(workspace, "sweep", f"{trial.name}: {error}")


def follow(client: FireworksClient, workspace: Workspace, trial: Trial, job: DpoJob, slots: Slots) -> TrainedTrial:
    """Look at the job until it has ended; its metrics go to the folder and to a progress artifact.

    One whose loss is no number is cancelled, and has failed whatever the platform makes of it.
    """
    say(workspace, "sweep", f"{trial.name} ({trial.label}) is job {trial.job_id}", trial=trial.name)
    progress, steps = TrialProgress(workspace, trial), Steps(workspace, trial.name)
    metrics: list[dict[str, Any]] = []
    broken = ""
    while True:
        metrics = _patiently(lambda: client.dpo_job_metrics(trial.job_id), slots) or metrics
        steps.saw(metrics)
        progress.show(job, metrics, steps.eta_s)
        if job.state in TERMINAL_JOB_STATES:
            break
        if not broken and (broken := not_a_number(metrics) or ""):
            _patiently(lambda: _cancel(client, workspace, trial), slots)
        slots.sleep(POLL_S)
        job = _patiently(lambda: client.get_dpo_job(trial.job_id), slots)
    workspace.write_text(f"trials/{trial.name}/metrics.jsonl", "".join(json.dumps(m) + "\n" for m in metrics))
    workspace.write(f"trials/{trial.name}/job.json", job.to_json())
    broken = not_a_number(metrics) or ""
    succeeded = job.state in SUCCEEDED_JOB_STATES and not broken
    message = broken or (job.status.message if job.status and not succeeded else "")
    if job.state in FAILED_JOB_STATES and not message:
        message = f"the job ended as {job.state} and gave no reason"
    extra = job.model_extra or {}
    return TrainedTrial(
        trial=trial,
        job_state=job.state,
        model=full_name(client.account, "models", trial.job_id) if succeeded else None,
        message=message,
        metrics=metrics,
        created=job.create_time,
        completed=job.completed_time,
        seed=extra.get("trainingSeed"),
    )


def _patiently(call: Callable[[], T], slots: Slots) -> T:
    """Its answer, also from a server that is away for a while: started again, it has not lost the job."""
    away_since: float | None = None
    while True:
        try:
            return call()
        except (NotReached, Unavailable):
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > PATIENCE_S:
                raise
            slots.sleep(POLL_S)


def sweep_slots(workspace: Workspace, trials: Sequence[Trial], limit: int) -> Slots:
    """Slots for this sweep; jobs that an earlier process of the session left running hold theirs already."""
    plan = workspace.read("plan.json", Plan)
    order = cheapest_first(plan, trials) if plan else trials
    slots = Slots(
        limit,
        running=[trial.name for trial in trials if _under_way(workspace, trial)],
        order=[trial.name for trial in order],
        expected=[trial.name for trial in trials if not _begun(workspace, trial)],
    )
    if stopped := workspace.read(STOPPED, Stopped):  # by an earlier process of this session
        slots.stop(StoppedEarly(stopped.reason))
    return slots


def _begun(workspace: Workspace, trial: Trial) -> bool:
    folder = workspace.folder / "trials" / trial.name
    return (folder / "submitted.json").exists() or (folder / "result.json").exists()


def _under_way(workspace: Workspace, trial: Trial) -> bool:
    folder = workspace.folder / "trials" / trial.name
    return (folder / "submitted.json").exists() and not (folder / "result.json").exists()


def cancel_jobs(client: FireworksClient, workspace: Workspace, trials: Sequence[Trial]) -> list[str]:
    """Cancel what this session left running; the names of the trials whose jobs could not be cancelled."""
    left = []
    for trial in trials:
        if not _under_way(workspace, trial):
            continue
        try:
            if client.get_dpo_job(trial.job_id).state not in TERMINAL_JOB_STATES:
                client.cancel_dpo_job(trial.job_id)
                spending.settle_training(workspace, trial, completed=False)
        except PlatformError as error:
            say(workspace, "sweep", f"job {trial.job_id} could not be cancelled: {error}")
            left.append(trial.name)
    return left
