"""What a job leaves in its folder: checkpoints to go on from, metrics, and the finished adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from local_server.training.job import TrainingJob


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; one without trainer_state.json, written last, was cut off by a kill."""
    whole = [path for path in folder.glob("checkpoint-*") if _step(path) is not None]
    return max(whole, key=lambda path: _step(path) or 0, default=None)


def _step(checkpoint: Path) -> int | None:
    try:
        return int(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def prepare_folder(job: TrainingJob) -> Path | None:
    """The checkpoint to go on from, or None to begin; metrics of steps that will be repeated are dropped."""
    job.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = latest_checkpoint(job.checkpoints) if job.resume else None
    if checkpoint is None:
        shutil.rmtree(job.checkpoints, ignore_errors=True)
    keep_metrics(job.metrics_file, (_step(checkpoint) or 0) if checkpoint else 0)
    return checkpoint


def keep_metrics(file: Path, last_step: int) -> None:
    """Keep the lines of the first `last_step` steps; a line that a kill cut off goes, too."""
    kept = []
    if file.exists() and last_step:
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= last_step:
                    kept.append(line + "\n")
            except (ValueError, KeyError):
                continue
    draft = file.with_suffix(".partial")
    draft.write_text("".join(kept), encoding="utf-8")
    draft.replace(file)


def save_adapter(model: Any, target: Path) -> None:
    """An ordinary PEFT folder, there as a whole or not at all."""
    draft = target.with_name(target.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    model.save_pretrained(draft)
    shutil.rmtree(target, ignore_errors=True)
    draft.rename(target)
