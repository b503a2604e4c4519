"""What a training job's metrics say of its health, in plain words; empty where nothing is amiss.

The keys of a platform's metrics are its own and optional: what is not told is not judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from preference.settings_sweep import Method

LOSSES = ("dpo_loss", "orpo_loss", "loss", "train/loss")  # a platform's names for it
LN_2 = math.log(2)
FIRST_LOSS_SLACK = 0.05  # a batch of few pairs in bf16: measured within 0.01 on the packaged model
FEW_STEPS = 10  # accuracy 1 before that: the pairs are too easy (huggingface/trl#894)
ENOUGH_STEPS = 20  # from here on an accuracy about 0.5 is a finding
STUCK = 0.05  # about 0.5
EXPLODED = 100.0  # gradient norm; 0.01 to 10 is usual (Axolotl's documentation)


def training_health(method: Method, metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences about what the metrics, a mapping a logged step in order, should make one doubt."""
    losses = series(metrics, *LOSSES)
    accuracies = series(metrics, "accuracy", "train/accuracy")
    found = [
        not_a_number(metrics, (*LOSSES, "grad_norm")),
        _first_loss(losses) if method is Method.DPO else None,
        _accuracy(accuracies, metrics),
        _margin(series(metrics, "margin", "train/margin", "reward_margin", "log_odds_ratio")),
        _displacement(
            series(metrics, "chosen_logps", "chosen_avg_lp"), series(metrics, "rejected_logps", "rejected_avg_lp")
        ),
        _explosion(series(metrics, "grad_norm", "train/grad_norm")),
    ]
    return [text for text in found if text]


def series(metrics: Sequence[Mapping[str, Any]], *keys: str) -> list[float]:
    """The finite values of the first of these keys that a step has, in order."""
    values = (next((line[key] for key in keys if _is_number(line.get(key))), None) for line in metrics)
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def not_a_number(metrics: Sequence[Mapping[str, Any]], keys: Sequence[str] = LOSSES) -> str | None:
    """That a loss is NaN or infinite, with advice: such a trial has failed, since its weights are lost."""
    for line in metrics:
        for key in keys:
            if _is_number(line.get(key)) and not math.isfinite(line[key]):
                return f"{key} is {line[key]} at step {line.get('step', '?')}: lower the learning rate."
    return None


def _first_loss(losses: Sequence[float]) -> str | None:
    """Before the first step the policy is the reference, so that DPO's loss is ln 2."""
    if losses and abs(losses[0] - LN_2) > FIRST_LOSS_SLACK:
        return (
            f"the first loss is {losses[0]:.3f}, not {LN_2:.3f} (ln 2): the reference may not be the model that "
            "training began from, or steps passed before the first one that was logged."
        )
    return None


def _accuracy(accuracies: Sequence[float], metrics: Sequence[Mapping[str, Any]]) -> str | None:
    last_step = series(metrics, "step", "train/step")
    n_steps = int(last_step[-1]) if last_step else len(accuracies)
    perfect = next((n for n, value in enumerate(accuracies) if value >= 1), None)
    if perfect is not None and perfect < FEW_STEPS < n_steps and min(accuracies[perfect:]) >= 1:
        return (
            "every pair is told apart after a few steps and from then on: the pairs are easy, and the model may be "
            "no better for it. Look at the held-out numbers alone, and lower the learning rate."
        )
    late = accuracies[len(accuracies) // 2 :]
    if n_steps >= ENOUGH_STEPS and late and abs(sum(late) / len(late) - 0.5) < STUCK:
        return "pair accuracy stays about 0.5: nothing is learned. Raise the learning rate, or look at the pairs."
    return None


def _margin(margins: Sequence[float]) -> str | None:
    if len(margins) < 4:
        return None
    first, last = _ends(margins)
    return (
        f"the margin fell from {first:.3g} to {last:.3g}: the rejected answers gain." if last < min(first, 0) else None
    )


def _displacement(chosen: Sequence[float], rejected: Sequence[float]) -> str | None:
    """Likelihood displacement: Razin et al., arXiv:2410.08847. Batches differ, so quarters are compared."""
    if min(len(chosen), len(rejected)) < 8:
        return None
    (chosen_first, chosen_last), (rejected_first, rejected_last) = _ends(chosen), _ends(rejected)
    spread = max(abs(chosen_first), 1e-9)
    if chosen_last < chosen_first - 0.1 * spread and rejected_last < rejected_first:
        return (
            "the chosen answers became less likely together with the rejected ones (likelihood displacement): what "
            "they lost may have gone to something else. A higher beta, a lower learning rate or ORPO helps."
        )
    return None


def _explosion(norms: Sequence[float]) -> str | None:
    if norms and max(norms) > EXPLODED:
        return f"the gradient norm reached {max(norms):.3g} (0.01 to 10 is usual): lower the learning rate."
    return None


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Means of the first and of the last quarter."""
    n = max(1, len(values) // 4)
    return sum(values[:n]) / n, sum(values[-n:]) / n
