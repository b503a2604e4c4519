"""What a session says of itself, as lines: its phases, the trials' progress, and what was spent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from blocks.workspace import Workspace
from preference.cost import duration_text
from tasks.spending import ledger

PHASES = {  # there is no phase 4
    "inspect": "1 inspect",
    "plan": "2 plan",
    "pairs": "3 pairs",
    "sweep": "3 sweep",
    "evaluate": "5 evaluate",
    "comparison": "5 compare",
    "promotion": "6 deploy",
    "deploy": "6 deploy",
    "report": "7 report",
}

Event = dict[str, Any]


class Events:
    """The session's lines so far, then each time what is new."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._n_read = 0
        self._steps: dict[str, Event] = {}
        self._spent = ""

    def new(self) -> list[Event]:
        lines = self.workspace.lines("events.jsonl")
        found, self._n_read = lines[self._n_read :], len(lines)
        return [*found, *self._progress(), *self._cost()]

    def _cost(self) -> list[Event]:
        """The cost so far, when it has changed; none while nothing was bought."""
        spent = ledger(self.workspace).spent()
        text = spent.text()
        if not spent.n_bought or text == self._spent:
            return []
        self._spent = text
        return [{"phase": "cost", "text": text, "usd": spent.usd, "open": spent.open}]

    def _progress(self) -> list[Event]:
        """A line for each trial whose job has gone on since the last look; none for those that have ended."""
        found = []
        for file in sorted(self.workspace.folder.glob("trials/*/progress.json")):
            trial = file.parent.name
            progress = self.workspace.read_json(f"trials/{trial}/progress.json")
            if (file.parent / "result.json").exists() or self._steps.get(trial) == progress:
                continue
            self._steps[trial] = progress
            found.append({"phase": "sweep", "text": _progress_text(trial, progress), "trial": trial, **progress})
        return found


def line_of(event: Event) -> str:
    """Such as 14:03:22 [3 sweep] t1: step 14 of 56, loss 0.62, about 40 s left."""
    at = str(event.get("at") or datetime.now(UTC).isoformat())[11:19]
    return f"{at} [{PHASES.get(event['phase'], event['phase'])}] {event['text']}"


def _progress_text(trial: str, progress: Event) -> str:
    total = progress.get("total_steps")
    parts = [f"step {progress['step']}" + (f" of {total}" if total else "")]
    if progress.get("loss") is not None:
        parts.append(f"loss {progress['loss']:.4g}")
    if progress.get("eta_s") is not None:
        parts.append(f"about {duration_text(progress['eta_s'])} left")
    return f"{trial}: {', '.join(parts)}"
