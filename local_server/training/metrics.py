"""A line a step, in the words of the API's metrics file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from local_server.training.job import TrainingFault, TrainingJob

# TRL's names, and ours: margin is log-ratios alone, reward_margin is beta times that
_COMMON = {
    "rewards/accuracies": "accuracy",
    "rewards/margins": "reward_margin",
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "epoch": "epoch",
}
_DPO = {"loss": "dpo_loss", "logps/chosen": "chosen_logps", "logps/rejected": "rejected_logps"}
_ORPO = {
    "loss": "orpo_loss",
    "nll_loss": "sft_loss",
    "logps/chosen": "chosen_avg_lp",
    "logps/rejected": "rejected_avg_lp",
    "log_odds_chosen": "log_odds_ratio",
}


def metrics_line(job: TrainingJob, logs: dict[str, float], *, step: int, total_steps: int) -> dict[str, Any]:
    """One line from what TRL logged at an optimizer step. Keys that TRL did not log are left out, never 0."""
    names = _COMMON | (_DPO if job.method == "DPO" else _ORPO)
    line: dict[str, Any] = {"type": "metrics", "step": step, "total_steps": total_steps}
    line |= {ours: logs[theirs] for theirs, ours in names.items() if theirs in logs}
    line["loss"] = logs["loss"]
    if job.method == "DPO":
        line["beta"] = job.effective_beta()
        if "reward_margin" in line:
            line["margin"] = line["reward_margin"] / line["beta"]
    else:
        line["orpo_lambda"] = job.effective_lambda()
        line["batch_pairs"] = job.batch_size
        if "log_odds_ratio" in logs:  # TRL's log_odds_ratio is the mean log sigmoid of the log odds ratio
            line["or_loss"] = -logs["log_odds_ratio"]
    return line


def refuse_nan(line: dict[str, Any]) -> None:
    """Raise TrainingFault where the loss or the gradient is no number any more."""
    if bad := [key for key in ("loss", "grad_norm") if key in line and not math.isfinite(line[key])]:
        raise TrainingFault(
            f"the {bad[0]} became {line[bad[0]]} at step {line['step']} of {line['total_steps']}, with "
            "learning rate "
            f"{line.get('lr', float('nan')):.3g}. Lower the learning rate (a tenth of it), or add warm-up "
            "steps."
        )


def append(file: Path, line: dict[str, Any]) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, allow_nan=False) + "\n")
