"""A DpoJob as it comes in, checked as the platform checks it, and as the training child is told it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from local_server.errors import ApiError, invalid
from local_server.store import Record
from preference.wire import DpoJob, TrainingConfig

DEFAULT_BETA = 0.1
DEFAULT_ORPO_LAMBDA = 1.0  # fw-ai/cookbook, orpo_loop.py
DEFAULT_LORA_RANK = 8
DEFAULT_BATCH_SIZE = 4  # preference pairs an optimizer step
DEFAULT_WEIGHT_DECAY = 0.01
RANKS = (1, 2, 4, 8, 16, 32)
LEGACY_FIELDS = ("batchSize", "gradientAccumulationSteps", "jinjaTemplate")  # refused unless 0 or empty
SCHEDULES = ("constant", "linear", "cosine")


def check(raw: dict[str, Any], job: DpoJob, *, max_context: int | None) -> None:
    """Raises INVALID_ARGUMENT or UNIMPLEMENTED with what to change. raw: the body as it came."""
    config = job.training_config
    for field in LEGACY_FIELDS:
        if (raw.get("trainingConfig") or {}).get(field):
            raise invalid(f"trainingConfig.{field} is not supported by this trainer; leave it out")
    if config.warm_start_from and config.base_model:
        raise invalid("set either trainingConfig.baseModel or trainingConfig.warmStartFrom, not both")
    if config.warm_start_from:
        raise ApiError("UNIMPLEMENTED", "the local server does not continue from an adapter; set baseModel instead")
    if not config.base_model:
        raise invalid("trainingConfig.baseModel is required")
    _check_numbers(config, max_context)
    _check_schedule(config.lr_scheduler)
    _check_loss(job)


def method_of(raw: dict[str, Any]) -> str:
    """DPO or ORPO. No lossConfig means DPO, but one without a method means GRPO, as on the cloud."""
    loss = raw.get("lossConfig")
    if loss is None:
        return "DPO"
    method = loss.get("method") if isinstance(loss, dict) else None
    if method in (None, "", "METHOD_UNSPECIFIED"):
        raise invalid(
            "lossConfig.method is not set, which means GRPO, and a dpoJob cannot train with GRPO; "
            "set it to DPO or ORPO, or leave lossConfig out for DPO"
        )
    if method not in ("DPO", "ORPO"):
        raise invalid(f"lossConfig.method {method} is not supported by a dpoJob here; use DPO or ORPO")
    return str(method)


def _check_numbers(config: TrainingConfig, max_context: int | None) -> None:
    def require(fine: bool, field: str, rule: str, found: Any) -> None:
        if not fine:
            raise invalid(f"trainingConfig.{field} must be {rule}, found {found}")

    if (rate := config.learning_rate) is not None:
        require(0 <= rate < 1, "learningRate", "above 0 and below 1 (0 or unset: chosen for the model)", rate)
    require(config.epochs is None or config.epochs >= 0, "epochs", "at least 1", config.epochs)
    require(config.lora_rank in (None, 0, *RANKS), "loraRank", "a power of two up to 32", config.lora_rank)
    require((config.lora_alpha or 0) >= 0, "loraAlpha", "positive", config.lora_alpha)
    require(0 <= (config.lora_dropout or 0) < 1, "loraDropout", "at least 0 and below 1", config.lora_dropout)
    require((config.batch_size_samples or 0) >= 0, "batchSizeSamples", "positive", config.batch_size_samples)
    warmup = config.learning_rate_warmup_steps
    require((warmup or 0) >= 0, "learningRateWarmupSteps", "at least 0", warmup)
    decay = config.optimizer_weight_decay
    require((decay or 0) >= 0, "optimizerWeightDecay", "at least 0", decay)
    if context := config.max_context_length:
        require(context > 0 and context % 16 == 0, "maxContextLength", "a positive multiple of 16", context)
        if max_context:
            require(context <= max_context, "maxContextLength", f"at most the model's {max_context}", context)


def _check_schedule(schedule: dict[str, Any] | None) -> None:
    if schedule and (len(schedule) != 1 or next(iter(schedule)) not in SCHEDULES):
        raise invalid(f"trainingConfig.lrScheduler must have exactly one of {', '.join(SCHEDULES)}")


def _check_loss(job: DpoJob) -> None:
    loss = job.loss_config
    if loss and loss.dpo and loss.dpo.beta is not None and not 0 < loss.dpo.beta < 0.5:
        raise invalid(f"lossConfig.dpo.beta must be above 0 and below 0.5, found {loss.dpo.beta}")
    if loss and loss.orpo and loss.orpo.orpo_lambda is not None and not loss.orpo.orpo_lambda > 0:
        raise invalid(f"lossConfig.orpo.lambda must be above 0, found {loss.orpo.orpo_lambda}")


def child_request(
    record: Record, folder: Path, base_folder: Path, dataset: Path, lora_layers: int | None
) -> dict[str, Any]:
    """The line that the training child reads. 0 or unset means the default, as on the wire.

    lora_layers: how many of the top layers carry adapters; None leaves it to the trainer.
    """
    job = DpoJob.parse(record.body)
    config, loss = job.training_config, job.loss_config
    method = method_of(record.body)
    beta = loss.dpo.beta if loss and loss.dpo else None
    orpo_lambda = loss.orpo.orpo_lambda if loss and loss.orpo else None
    decay = config.optimizer_weight_decay
    return {
        "job": record.id,
        "folder": str(folder),
        "base_model": str(base_folder),
        "dataset": str(dataset),
        "method": method,
        "beta": (beta or DEFAULT_BETA) if method == "DPO" else None,
        "orpo_lambda": (orpo_lambda or DEFAULT_ORPO_LAMBDA) if method == "ORPO" else None,
        "learning_rate": config.learning_rate or None,
        "epochs": config.epochs or 1,
        "lora_rank": config.lora_rank or DEFAULT_LORA_RANK,
        "lora_alpha": config.lora_alpha or None,
        "lora_dropout": config.lora_dropout or None,
        "lora_target_modules": config.lora_target_modules or None,
        "lora_layers": lora_layers,
        "max_context_length": config.max_context_length or None,
        "batch_size": config.batch_size_samples or DEFAULT_BATCH_SIZE,
        "warmup_steps": config.learning_rate_warmup_steps or 0,
        "weight_decay": DEFAULT_WEIGHT_DECAY if decay is None else decay,
        "lr_scheduler": config.lr_scheduler,
        "seed": record.body["trainingSeed"],
        "resume": bool(record.private.get("resume")),
    }
