"""Learning-rate schedules as the API names them: constant, linear, cosine, each after a linear warm-up."""

from __future__ import annotations

import math
from typing import Any

from local_server.training.job import TrainingFault


def multiplier(step: int, *, total: int, warmup: int, scheduler: dict[str, Any] | None) -> float:
    """What the peak learning rate is multiplied with at optimizer step `step` (0 is the first).

    minLrRatio is where the decay ends (default 0); decayRatio is the share of the steps, the last ones, over
    which it goes there (default 1: all steps after the warm-up).
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    kind, options = _read(scheduler)
    if kind == "constant":
        return 1.0
    low = float(options.get("minLrRatio", options.get("min_lr_ratio", 0.0)) or 0.0)
    share = float(options.get("decayRatio", options.get("decay_ratio", 1.0)) or 1.0)
    start = max(warmup, round(total * (1 - share)))
    progress = min(1.0, max(0.0, (step - start) / max(1, total - start)))
    fall = progress if kind == "linear" else (1 - math.cos(math.pi * progress)) / 2
    return 1 - (1 - low) * fall


def _read(scheduler: dict[str, Any] | None) -> tuple[str, dict[str, Any]]:
    if not scheduler:
        return "constant", {}
    kind, options = next(iter(scheduler.items()))
    if len(scheduler) != 1 or kind not in {"constant", "linear", "cosine"}:
        raise TrainingFault(
            f"lrScheduler is {scheduler}; it has exactly one of constant, linear and cosine, such as "
            '{"cosine": {"minLrRatio": 0.1}}.'
        )
    return kind, options or {}
