"""How far a trial is, for whoever looks at the run's page: a Prefect progress artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext
from prefect.exceptions import PrefectException

from blocks.workspace import Workspace
from preference.cost import duration_text, usd_text
from preference.health import training_health
from preference.plan import Plan, trial_line
from preference.trials import Trial
from preference.wire import SUCCEEDED_JOB_STATES, DpoJob
from tasks.progress import logger

SHOWN = {
    "step": "step",
    "dpo_loss": "loss",
    "orpo_loss": "loss",
    "accuracy": "reward accuracy",
    "margin": "margin",
}


class TrialProgress:
    """Made at the first look, changed in place afterwards."""

    def __init__(self, workspace: Workspace, trial: Trial) -> None:
        plan = workspace.read("plan.json", Plan)
        self.trial = trial
        self.usd = trial_line(plan, trial).usd if plan else None
        self.artifact: Any = None

    def show(self, job: DpoJob, metrics: list[dict[str, Any]], eta_s: float | None) -> None:
        """Nothing outside a task run: there is no page to show it on."""
        if TaskRunContext.get() is None:
            return
        last = metrics[-1] if metrics else {}
        share = share_done(job, last)
        doubts = "".join(f"\n\n{doubt}" for doubt in training_health(self.trial.method, metrics))
        text = self._titled(progress_text(job, last, share, eta_s, self.usd)) + doubts
        try:
            self._publish(100 * share, text)
        except (httpx.HTTPError, PrefectException) as error:  # a Prefect server that restarts must not end a trial
            logger().warning("the progress of %s cannot be shown just now: %s", self.trial.name, error)

    def _publish(self, percent: float, text: str) -> None:
        if self.artifact is None:
            key = f"progress-{self.trial.job_id}"
            self.artifact = create_progress_artifact(percent, key=key, description=self._titled("submitted"))
        update_progress_artifact(self.artifact, percent, description=text)

    def _titled(self, text: str) -> str:
        return f"{self.trial.name}: {self.trial.label} — {text}"


def share_done(job: DpoJob, last: Mapping[str, Any]) -> float:
    """0 to 1, by the last line of metrics; 0 where it does not say."""
    if job.state in SUCCEEDED_JOB_STATES:
        return 1.0
    step, total = last.get("step"), last.get("total_steps")
    return min(1.0, step / total) if isinstance(step, int | float) and total else 0.0


def progress_text(job: DpoJob, last: Mapping[str, Any], share: float, eta_s: float | None, usd: float | None) -> str:
    """State, step, loss, accuracy, margin, time left and spend so far; what is not known is not said.

    usd: the whole job's expected price; None is unknown, and said as such.
    """
    text = [job.state.removeprefix("JOB_STATE_").lower()]
    for key, name in SHOWN.items():
        if isinstance(last.get(key), int | float):
            of = f" of {last['total_steps']:g}" if key == "step" and last.get("total_steps") else ""
            text.append(f"{name} {last[key]:.4g}{of}")
    if eta_s is not None and share < 1:
        text.append(f"about {duration_text(eta_s)} left")
    text.append("spend unknown" if usd is None else f"{usd_text(usd * share)} USD so far")
    return ", ".join(text)
