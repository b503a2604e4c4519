"""A training job as the supervisor writes it, and the folder that it works in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingJob(BaseModel):
    """One line of the training child's stdin."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    job: str
    folder: Path  # metrics.jsonl, checkpoints/ and at the end adapter/ are written here
    base_model: Path
    dataset: Path  # JSONL, a pair a line: input.messages, preferred_output, non_preferred_output
    method: Literal["DPO", "ORPO"] = "DPO"
    beta: float | None = Field(None, gt=0)
    orpo_lambda: float | None = Field(None, gt=0)
    learning_rate: float | None = Field(None, gt=0)
    epochs: int = Field(1, ge=1)
    lora_rank: int = Field(8, ge=1)
    lora_alpha: int | None = None
    lora_dropout: float | None = Field(None, ge=0, lt=1)
    lora_target_modules: list[str] | None = None
    lora_layers: int | None = Field(None, ge=1)  # the top so many layers
    max_context_length: int | None = Field(None, ge=16)  # tokens
    batch_size: int = Field(4, ge=1)  # pairs an optimizer step
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    lr_scheduler: dict[str, Any] | None = None
    seed: int = 0
    resume: bool = False
    dtype: Literal["bfloat16", "float32"] | None = None  # None: the best that the device computes fast
    engine: Literal["auto", "trl"] = "auto"  # auto shares the frozen layers' work between jobs where it can
    checkpoint_every_s: float = Field(30.0, ge=0)  # 0: after every step

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    def effective_beta(self) -> float:
        return self.beta or 0.1  # arXiv:2305.18290, appendix B

    def effective_lambda(self) -> float:
        return self.orpo_lambda or 1.0  # Fireworks' recipe; the paper's own runs use 0.1 to 1 (arXiv:2403.07691)

    def effective_learning_rate(self, parameter_count: int) -> float:
        """Fireworks' DPO recipe has 1e-5; below a billion parameters LoRA needs ten times that to move."""
        return self.learning_rate or (1e-4 if parameter_count < 1_000_000_000 else 1e-5)


class TrainingFault(Exception):
    """Training cannot go on for a reason that the user can mend; the message says which and how."""
