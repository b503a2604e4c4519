"""TRL's DPO and ORPO trainers, set up for this machine and fed with what the jobs share."""

from __future__ import annotations

import functools
import time
from typing import Any

from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from local_server.training.job import TrainingJob
from local_server.training.lora import lora_config
from local_server.training.metrics import append, metrics_line, refuse_nan
from local_server.training.schedule import multiplier
from local_server.training.warm import WarmBase, WarmData

MICRO_PAIRS = 8  # pairs a forward pass: measured best on a CPU among 1 to 48
MICRO_TOKENS = 8192  # or as many as have this many tokens, padding included


class ScheduledTrainer:
    """The API's learning-rate schedules in a transformers Trainer."""

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        job: TrainingJob = self.job  # type: ignore[attr-defined]
        rate = functools.partial(
            multiplier, total=num_training_steps, warmup=job.warmup_steps, scheduler=job.lr_scheduler
        )
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, rate)  # type: ignore[attr-defined]
        return self.lr_scheduler


class SharedDPOTrainer(ScheduledTrainer, DPOTrainer):  # type: ignore[misc]
    """TRL's DPOTrainer over pairs that are tokenised, and whose reference log-probs are computed, once a
    dataset.

    The reference is the base without adapter, so it is the same for every job on that base, whatever its
    seed.
    """

    def __init__(self, job: TrainingJob, base: WarmBase, data: WarmData, **kwargs: Any):
        self.job, self._data = job, data
        super().__init__(
            model=base.model,
            processing_class=base.tokenizer,
            train_dataset=data.pairs,
            peft_config=lora_config(base.model, job),
            **kwargs,
        )
        if data.references is None:
            data.references = self._reference_log_probs(data)
        chosen, rejected = data.references
        self.train_dataset = data.tokenised.add_column("ref_chosen_logps", chosen).add_column(
            "ref_rejected_logps", rejected
        )
        self.precompute_ref_logps = True  # read them from the columns; the config's flag would compute them again

    def _prepare_dataset(self, *args: Any) -> Any:
        if self._data.tokenised is None:
            self._data.tokenised = super()._prepare_dataset(*args)
        return self._data.tokenised

    def _reference_log_probs(self, data: WarmData) -> tuple[list[float], list[float]]:
        by_length = sorted(range(len(data.lengths)), key=data.lengths.__getitem__)  # little padding
        chosen, rejected = [0.0] * len(by_length), [0.0] * len(by_length)
        self.model.eval()
        for start in range(0, len(by_length), MICRO_PAIRS):
            rows = by_length[start : start + MICRO_PAIRS]
            inputs = self._prepare_inputs(self.data_collator([data.tokenised[row] for row in rows]))
            of_chosen, of_rejected = self.compute_ref_log_probs(self.model, inputs)
            for row, c, r in zip(rows, of_chosen.tolist(), of_rejected.tolist(), strict=True):
                chosen[row], rejected[row] = c, r
        return chosen, rejected


class SharedORPOTrainer(ScheduledTrainer, ORPOTrainer):  # type: ignore[misc]
    """TRL's ORPOTrainer on the loaded base; it has no reference model, so there is nothing more to share."""

    def __init__(self, job: TrainingJob, base: WarmBase, data: WarmData, **kwargs: Any):
        self.job = job
        super().__init__(
            model=base.model,
            processing_class=base.tokenizer,
            train_dataset=data.pairs,
            peft_config=lora_config(base.model, job),
            **kwargs,
        )


def settings(job: TrainingJob, base: WarmBase, data: WarmData) -> DPOConfig | ORPOConfig:
    """The trainer's configuration, every choice of this machine's in one place."""
    longest = max(data.lengths)
    per_device = micro_batch(job.batch_size, longest)
    on_cpu = base.model.device.type == "cpu"
    shared = {
        "output_dir": str(job.checkpoints),
        "learning_rate": job.effective_learning_rate(base.parameter_count),
        "num_train_epochs": job.epochs,
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": job.batch_size // per_device,
        "weight_decay": job.weight_decay,
        "seed": job.seed,
        "max_length": longest + 8,  # nothing is cut; ORPO's own rows may end in one more token
        "disable_dropout": not job.lora_dropout,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # the callback says when
        "save_total_limit": 2,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": on_cpu,
        "bf16": False,  # the weights themselves are bf16 where that is fast; autocast over fp32 is slower
        "gradient_checkpointing": not on_cpu,
        "dataloader_pin_memory": False,
        "remove_unused_columns": job.method == "DPO",
    }
    if job.method == "DPO":
        return DPOConfig(**shared, beta=job.effective_beta())
    return ORPOConfig(**shared, beta=job.effective_lambda())  # TRL's beta is the paper's lambda


def micro_batch(batch_size: int, longest: int) -> int:
    """Pairs a forward pass: the largest divisor of batch_size within MICRO_PAIRS and MICRO_TOKENS; at least
    1.

    longest: tokens of the longest sequence; a pair is two of them.
    """
    most = max(1, min(MICRO_PAIRS, MICRO_TOKENS // (2 * longest)))
    return max(n for n in range(1, most + 1) if batch_size % n == 0)


class Progress(TrainerCallback):  # type: ignore[misc]
    """Writes metrics as steps end, and asks for a checkpoint where the last is old."""

    def __init__(self, job: TrainingJob, send: Any):
        self._job, self._send = job, send
        self._tokens = 0.0
        self._began = self._saved = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if time.monotonic() - self._saved >= self._job.checkpoint_every_s and state.global_step < state.max_steps:
            control.should_save = True
            self._saved = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if "loss" not in logs:
            return  # the summary at the end
        line = metrics_line(self._job, logs, step=state.global_step, total_steps=state.max_steps)
        line["step_time_sec"] = round(time.monotonic() - self._began, 4)
        if "num_tokens" in logs:
            line["total_tokens"] = logs["num_tokens"]
            line["tokens_per_sec"] = round((logs["num_tokens"] - self._tokens) / max(line["step_time_sec"], 1e-9), 1)
            self._tokens = logs["num_tokens"]
        refuse_nan(line)
        append(self._job.metrics_file, line)
        self._send({"event": "metrics", "job": self._job.job, **line})
