"""Takes jobs one after another and reports on each; the base stays loaded from one to the next."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import torch

from local_server.training.checkpoints import prepare_folder, save_adapter
from local_server.training.choose import make_trainer
from local_server.training.compact_head import use_compact_head
from local_server.training.environment import Events, die_with_parent, read_lines, take_stdout
from local_server.training.failures import is_out_of_memory, message_for
from local_server.training.job import TrainingJob
from local_server.training.trainers import Progress
from local_server.training.warm import WarmBase, load_base

Send = Callable[[dict[str, Any]], None]
_log = logging.getLogger(__name__)


class Worker:
    def __init__(self, send: Send):
        self._send = send
        self._warm: dict[tuple[str, str | None], WarmBase] = {}

    def take(self, line: dict[str, Any]) -> None:
        """Run the job on this line to its end. Whatever happens to it is reported; nothing is raised."""
        job_id = str(line.get("job", ""))
        try:
            self._train(TrainingJob.model_validate(line))
            self._send({"event": "done", "job": job_id})
        except Exception as error:
            _log.exception("job %s failed", job_id)
            self._warm.clear()  # its state is unknown now
            self._send({"event": "failed", "job": job_id, "message": message_for(error)})
            if is_out_of_memory(error):
                sys.exit(1)  # what is left of this process's memory is fragments: a new child takes the rest

    def _train(self, job: TrainingJob) -> None:
        if job.resume and job.adapter.is_dir():
            return  # it was finished already, and only the news of it was lost
        checkpoint = prepare_folder(job)
        base = self._base(job)
        data = base.dataset(job)
        self._send({"event": "running", "job": job.job, "n_pairs": len(data.lengths)})
        with base.untouched_afterwards():
            trainer = make_trainer(job, base, data, [Progress(job, self._send)])
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            save_adapter(trainer.accelerator.unwrap_model(trainer.model), job.adapter)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _base(self, job: TrainingJob) -> WarmBase:
        key = (str(job.base_model), job.dtype)
        if key not in self._warm:
            self._warm.clear()  # one at a time: two models may not fit
            self._warm[key] = load_base(job.base_model, job.dtype)
        return self._warm[key]


def main() -> None:
    die_with_parent()
    events = Events(take_stdout())
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    use_compact_head()
    worker = Worker(events.send)
    lines = read_lines(sys.stdin)
    while True:
        worker.take(lines.get())
