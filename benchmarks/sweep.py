"""Six DPO trials through the local server's warm training child, beside the same six as separate plain TRL processes.

    python -m benchmarks.sweep [--trials 6] [--pairs 48] [--base-model FOLDER]

Both sides train the same adapters on the same pairs with the same seeds in the same number format; the losses of each
step are compared. Time is from starting the first process to the end of the last, imports and loading included; memory
is the largest resident size of any process. To reach: 3 times, memory no higher.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_server import catalogue, weights
from local_server.training.environment import child_environment

DATASET = Path(__file__).parents[1] / "examples" / "concise" / "train.jsonl"
GRID = [(beta, rate) for beta in (0.05, 0.1, 0.3) for rate in (1e-4, 3e-4)]


@dataclass
class Outcome:
    losses: list[list[float]]  # a list a trial, a loss a step
    wall_s: float
    cpu_s: float
    peak_gb: float


def jobs(base_model: Path, dataset: Path, folder: Path, n: int) -> list[dict[str, Any]]:
    return [
        {
            "job": f"trial-{i}",
            "folder": str(folder / f"trial-{i}"),
            "base_model": str(base_model),
            "dataset": str(dataset),
            "method": "DPO",
            "beta": beta,
            "learning_rate": rate,
            "batch_size": 8,
            "lora_rank": 16,
            "lora_layers": 10,
            "seed": i,
        }
        for i, (beta, rate) in enumerate(GRID[:n])
    ]


def warm_child(work: list[dict[str, Any]]) -> Outcome:
    """All jobs through one training child."""
    with Measured([sys.executable, "-m", "local_server.training"]) as child:
        losses = []
        for job in work:
            child.send(job)
            losses.append([event["loss"] for event in child.events() if event["event"] == "metrics"])
    return child.outcome(losses)


def separate_processes(work: list[dict[str, Any]]) -> Outcome:
    """A TRL process a job, one after another: two at a time are slower on two cores."""
    parts = []
    for job in work:
        with Measured([sys.executable, "-m", "benchmarks.sweep", "--one"]) as child:
            child.send(job)
            losses = [[event["loss"] for event in child.events() if event["event"] == "metrics"]]
        parts.append(child.outcome(losses))
    return Outcome(
        [losses for part in parts for losses in part.losses],
        sum(part.wall_s for part in parts),
        sum(part.cpu_s for part in parts),
        max(part.peak_gb for part in parts),
    )


class Measured:
    """A child process with its time and memory."""

    def __init__(self, command: list[str]):
        self._command = command

    def __enter__(self) -> Measured:
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=child_environment(trains=True),
        )
        return self

    def send(self, job: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()

    def events(self) -> Iterator[dict[str, Any]]:
        """Up to the end of the job that was sent last."""
        assert self._process.stdout
        for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "failed":
                raise SystemExit(f"a trial failed: {event['message']}")
            yield event
            if event["event"] == "done":
                return
        raise SystemExit(f"{' '.join(self._command[1:])} ended early")

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        _, _, self._usage = os.wait4(self._process.pid, 0)
        self._process.returncode = 0
        self._wall_s = time.monotonic() - self._began

    def outcome(self, losses: list[list[float]]) -> Outcome:
        cpu_s = self._usage.ru_utime + self._usage.ru_stime
        return Outcome(losses, self._wall_s, cpu_s, self._usage.ru_maxrss / 1e6)


def plain_trl(line: dict[str, Any]) -> None:
    """One job as anybody would run it with TRL on this machine: its own model, reference and head."""
    from datasets import Dataset
    from transformers import SchedulerType, TrainerCallback, set_seed
    from trl import DPOTrainer

    from local_server.training.job import TrainingJob
    from local_server.training.lora import lora_config
    from local_server.training.pairs import read_pairs
    from local_server.training.trainers import settings
    from local_server.training.warm import load_base

    class Print(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
            if "loss" in logs:
                print(json.dumps({"event": "metrics", "loss": logs["loss"]}), file=out, flush=True)

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what TRL prints is not an event
    job = TrainingJob.model_validate(line)
    base = load_base(job.base_model, job.dtype)
    args = settings(job, base, base.dataset(job))
    args.lr_scheduler_type = SchedulerType.CONSTANT  # the API's default; TRL's own is linear
    set_seed(job.seed)
    trainer = DPOTrainer(
        model=base.model,
        processing_class=base.tokenizer,
        args=args,
        train_dataset=Dataset.from_list(read_pairs(job.dataset)),
        peft_config=lora_config(base.model, job),
        callbacks=[Print()],
    )
    trainer.train()
    trainer.save_model(str(job.adapter))
    print(json.dumps({"event": "done"}), file=out, flush=True)


def report(ours: Outcome, theirs: Outcome, dtype: str) -> None:
    print(f"{'':24}{'wall s':>10}{'CPU s':>10}{'peak GB':>10}")
    for name, outcome in (("warm child", ours), ("separate TRL processes", theirs)):
        print(f"{name:24}{outcome.wall_s:10.1f}{outcome.cpu_s:10.1f}{outcome.peak_gb:10.2f}")
    pairs = [
        (a, b) for one, other in zip(ours.losses, theirs.losses, strict=True) for a, b in zip(one, other, strict=True)
    ]
    print(f"\n{theirs.wall_s / ours.wall_s:.1f} times by the clock, {theirs.cpu_s / ours.cpu_s:.1f} by processor time")
    print(f"largest difference of a loss: {max(abs(a - b) for a, b in pairs):.1e} over {len(pairs)} steps in {dtype}")
    print("last losses:", *(f"{losses[-1]:.4f}" for losses in ours.losses))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=len(GRID), choices=range(1, len(GRID) + 1))
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--base-model", type=Path, help="a model folder; default: the packaged one")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        plain_trl(json.loads(sys.stdin.readline()))
        return
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(os.environ.get("PREFWORKS_HOME", ".prefworks")) / "local_server"
        base_model = arguments.base_model or weights.ensure(catalogue.load(home)[0], home)
        dataset = Path(scratch) / "pairs.jsonl"
        dataset.write_text("".join(DATASET.open(encoding="utf-8").readlines()[: arguments.pairs]), encoding="utf-8")
        ours = warm_child(jobs(base_model, dataset, Path(scratch) / "ours", arguments.trials))
        theirs = separate_processes(jobs(base_model, dataset, Path(scratch) / "theirs", arguments.trials))
    from local_server.training.warm import fast_dtype

    report(ours, theirs, str(fast_dtype("cpu")).removeprefix("torch."))


if __name__ == "__main__":
    main()
