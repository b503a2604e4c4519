"""How far a trial's job is, in the session's folder, for whoever follows the run from outside."""

from __future__ import annotations

import time
from typing import Any

from blocks.workspace import Workspace

LOSSES = ("dpo_loss", "orpo_loss", "loss", "train/loss")  # the keys are the platform's own, and optional


class Steps:
    """trials/<trial>/progress.json: step, total_steps, loss and eta_s (seconds), each null where it is not known."""

    def __init__(self, workspace: Workspace, trial: str) -> None:
        self._workspace = workspace
        self._file = f"trials/{trial}/progress.json"
        self._first: tuple[int, float] | None = None  # a step, and when it was seen
        self._step = 0
        self.eta_s: float | None = None  # None where it is not known

    def saw(self, metrics: list[dict[str, Any]]) -> None:
        """Keep the last step; the time left is at the pace of the steps seen here, so that a queue's wait is out."""
        last = metrics[-1] if metrics else {}
        step = int(last.get("step") or 0)
        if step <= self._step:
            return
        self._step, now = step, time.monotonic()
        first, since = self._first = self._first or (step, now)
        total = last.get("total_steps")
        known = isinstance(total, int | float) and step > first
        self.eta_s = (now - since) / (step - first) * max(0.0, total - step) if known and total is not None else None
        loss = next((last[key] for key in LOSSES if isinstance(last.get(key), int | float)), None)
        self._workspace.write(self._file, {"step": step, "total_steps": total, "loss": loss, "eta_s": self.eta_s})
