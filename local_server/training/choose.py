"""Which trainer a job gets."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, set_seed

from local_server.training import trunk
from local_server.training.job import TrainingJob
from local_server.training.trainers import SharedDPOTrainer, SharedORPOTrainer, settings
from local_server.training.warm import WarmBase, WarmData


def make_trainer(job: TrainingJob, base: WarmBase, data: WarmData, callbacks: list[TrainerCallback]) -> Any:
    """The job's trainer with a fresh adapter, which depends on nothing but the job's seed."""
    set_seed(job.seed)  # TRL's DPO makes the adapter before it seeds
    sharing = trunk.usable(job, base, data)
    if job.method == "DPO":
        kind = trunk.TrunkDPOTrainer if sharing else SharedDPOTrainer
    else:
        kind = trunk.TrunkORPOTrainer if sharing else SharedORPOTrainer
    return kind(job, base, data, args=settings(job, base, data), callbacks=callbacks)
