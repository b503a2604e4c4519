"""The training child: TRL's numbers, what jobs share, checkpoints, and what it says when it cannot go on."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local_server.training.checkpoints import keep_metrics, latest_checkpoint
from local_server.training.environment import child_environment
from local_server.training.failures import message_for
from local_server.training.job import TrainingFault
from local_server.training.packing import attention_mask, pack, positions, predictions
from local_server.training.pairs import read_pairs
from local_server.training.schedule import multiplier
from local_server.training.trainers import micro_batch
from local_server.training.worker import Worker
from tests.tiny_model import make_tiny_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning"),
]
TOPICS = ["tea", "rain", "a map", "iron", "the Moon", "a kite", "salt", "an owl", "ink", "a drum"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    rows = [pair(f"What is {topic}?", f"It is {topic}.", f"It is {topic}. Many say so.") for topic in TOPICS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {
        "input": {"messages": [{"role": "user", "content": prompt}]},
        "preferred_output": [{"role": "assistant", "content": chosen}],
        "non_preferred_output": [{"role": "assistant", "content": rejected}],
    }


class Run:
    """A worker in this process, and what it said."""

    def __init__(self, model: Path, dataset: Path, folder: Path):
        self.events: list[dict[str, Any]] = []
        self._worker = Worker(self.events.append)
        self._base = {"base_model": str(model), "dataset": str(dataset), "dtype": "float32"}
        self._folder = folder

    def train(self, name: str, **job: Any) -> list[float]:
        """The losses, one a step."""
        defaults = {"learning_rate": 3e-3, "batch_size": 4, "lora_layers": 2, "seed": 7}
        self._worker.take({**self._base, "job": name, "folder": str(self.folder(name)), **defaults, **job})
        assert self.last["event"] in ("done", "failed")
        return [event["loss"] for event in self.events if event["event"] == "metrics" and event["job"] == name]

    def folder(self, name: str) -> Path:
        return self._folder / name

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]


@pytest.fixture
def run(model, dataset, tmp_path) -> Run:
    return Run(model, dataset, tmp_path)


def test_dpo_starts_at_ln_2_and_learns(run):
    losses = run.train("j", epochs=4)
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses[-1] < 0.6
    assert run.last == {"event": "done", "job": "j"}
    lines = [json.loads(line) for line in (run.folder("j") / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == losses
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert {line["total_steps"] for line in lines} == {len(lines)}
    assert lines[-1]["accuracy"] == 1.0
    assert lines[-1]["margin"] * lines[-1]["beta"] == pytest.approx(lines[-1]["reward_margin"])


@pytest.mark.parametrize("method", ["DPO", "ORPO"])
def test_sharing_the_trunk_gives_trl_s_own_losses(run, method):
    ours = run.train("ours", method=method, epochs=3)
    reference = run.train("trl", method=method, epochs=3, engine="trl")
    assert ours == pytest.approx(reference, abs=5e-5)
    assert len(ours) == 9


def test_what_ran_before_in_the_same_child_does_not_change_a_job(run, model, dataset, tmp_path):
    run.train("first", learning_rate=1e-2, seed=1)
    run.train("second", method="ORPO")
    assert run.train("third") == Run(model, dataset, tmp_path / "alone").train("third")


def test_the_seed_decides(run):
    assert run.train("a", seed=1, epochs=2) == run.train("b", seed=1, epochs=2)
    assert run.train("c", seed=2, epochs=2) != run.train("a", seed=1, epochs=2)


def test_accumulating_small_batches_gives_the_large_batch_s_losses(run, monkeypatch):
    whole = run.train("whole", engine="trl", epochs=2)
    monkeypatch.setattr("local_server.training.trainers.MICRO_PAIRS", 2)
    assert run.train("parts", engine="trl", epochs=2) == pytest.approx(whole, abs=5e-4)


def test_the_adapter_is_an_ordinary_peft_folder_that_changes_the_model(run, model):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run.train("j", epochs=4, learning_rate=1e-2)
    base = AutoModelForCausalLM.from_pretrained(model)
    tokens = torch.tensor([[1, 50, 60, 70]])
    before = base(tokens).logits
    tuned = PeftModel.from_pretrained(base, run.folder("j") / "adapter")
    assert not torch.allclose(tuned(tokens).logits, before, atol=1e-3)
    with tuned.disable_adapter():
        assert torch.allclose(tuned(tokens).logits, before)
    assert tuned.peft_config["default"].layers_to_transform == [1, 2]


def test_a_child_that_is_killed_goes_on_from_its_checkpoint(model, dataset, tmp_path, run):
    job = {
        "job": "k",
        "folder": str(tmp_path / "k"),
        "base_model": str(model),
        "dataset": str(dataset),
        "learning_rate": 3e-3,
        "batch_size": 4,
        "lora_layers": 2,
        "seed": 7,
        "epochs": 4,
        "dtype": "float32",
        "checkpoint_every_s": 0,
    }
    with child(job) as first:
        for line in first.stdout:
            if json.loads(line).get("step") == 5:
                first.kill()
                break
    with child({**job, "resume": True}) as second:
        for line in second.stdout:
            if json.loads(line)["event"] in ("done", "failed"):
                break
        second.stdin.close()
        assert second.wait(20) == 0
    assert json.loads(line)["event"] == "done"
    resumed = [json.loads(line) for line in (tmp_path / "k" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in resumed] == list(range(1, 13))
    assert [line["loss"] for line in resumed] == pytest.approx(run.train("uninterrupted", epochs=4), abs=5e-5)


def child(job: dict[str, Any]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "local_server.training"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=child_environment(trains=True),
    )
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()
    return process


def test_pairs_that_are_too_long_are_named(run):
    run.train("j", max_context_length=48)
    assert run.last["event"] == "failed"
    assert "pairs are longer than the context of 48 tokens; the longest, pair 5, has" in run.last["message"]


def test_a_loss_that_is_no_number_stops_the_job_with_advice(run):
    run.train("j", learning_rate=1e30, epochs=5)
    assert run.last["event"] == "failed"
    assert "Lower the learning rate" in run.last["message"]
    assert run.train("next")[0] == pytest.approx(math.log(2), abs=1e-4)  # the child is as good as new


def test_target_modules_that_are_not_there_are_named(run):
    run.train("j", lora_target_modules=["q_proj", "c_attn"])
    assert run.last["message"].startswith("loraTargetModules names c_attn; this model has")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base_model": "/nowhere"}, "cannot be loaded"),
        ({"dataset": "/nowhere.jsonl"}, "Upload the dataset again"),
        ({"beta": -1}, "the job's beta is not valid"),
    ],
)
def test_a_job_that_cannot_begin_says_why(run, change, message):
    run.train("j", **change)
    assert run.last["event"] == "failed"
    assert message in run.last["message"]


def test_a_bad_row_is_named_by_its_line(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(pair("a", "b", "c")) + '\n\n{"input": {"messages": []}}\n')
    with pytest.raises(TrainingFault, match="line 3 of the dataset is not a preference pair"):
        read_pairs(path)


def test_running_out_of_memory_reads_as_such():
    error = RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory: you tried ...")
    assert message_for(error).startswith("training ran out of memory. Lower batchSizeSamples")


def test_a_checkpoint_without_its_last_file_does_not_count(tmp_path):
    for step, whole in ((5, True), (10, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}) if whole else '{"global_')
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoint-5"


def test_metrics_of_steps_that_are_repeated_are_dropped(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    keep_metrics(file, 2)
    assert file.read_text() == '{"step": 1}\n{"step": 2}\n'


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (None, [0.5, 1, 1, 1, 1]),
        ({"constant": {}}, [0.5, 1, 1, 1, 1]),
        ({"linear": {}}, [0.5, 1, 0.75, 0.5, 0.25]),
        ({"linear": {"minLrRatio": 0.5}}, [0.5, 1, 0.875, 0.75, 0.625]),
        ({"linear": {"decayRatio": 0.4}}, [0.5, 1, 1, 1, 0.5]),
        ({"cosine": {}}, [0.5, 1, 0.85355, 0.5, 0.14645]),
    ],
)
def test_learning_rate_schedules(scheduler, expected):
    values = [multiplier(step, total=5, warmup=1, scheduler=scheduler) for step in range(5)]
    assert values == pytest.approx(expected, abs=1e-5)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(TrainingFault, match="exactly one of constant, linear and cosine"):
        multiplier(0, total=5, warmup=0, scheduler={"square": {}})


@pytest.mark.parametrize(
    ("batch", "longest", "expected"), [(8, 100, 8), (32, 100, 8), (6, 100, 6), (7, 100, 7), (11, 100, 1), (8, 3000, 1)]
)
def test_micro_batches_divide_the_batch(batch, longest, expected):
    assert micro_batch(batch, longest) == expected


def test_a_pair_is_packed_behind_its_common_part():
    packed = pack([1, 2, 3, 4, 9], [1, 2, 3, 5, 6, 9], 2)
    assert packed.tokens == [1, 2, 3, 4, 9, 5, 6, 9]
    assert positions(packed) == [0, 1, 2, 3, 4, 3, 4, 5]
    mask = attention_mask([packed], 8)[0, 0].int().tolist()
    assert mask[4] == [1, 1, 1, 1, 1, 0, 0, 0]
    assert mask[6] == [1, 1, 1, 0, 0, 1, 1, 0]
    wanted = predictions([packed])
    assert wanted.tokens.tolist() == [3, 4, 9, 5, 6, 9]
    assert wanted.positions.tolist() == [1, 2, 3, 2, 5, 6]
    of_chosen, of_rejected = wanted.sums(wanted.tokens.float(), 1)
    assert (of_chosen.item(), of_rejected.item()) == (3 + 4 + 9, 3 + 5 + 6 + 9)


def test_children_get_no_keys(monkeypatch):
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_secret")
    monkeypatch.setenv("PREFWORKS_LOCAL_KEY", "secret")
    monkeypatch.setenv("HARMLESS", "yes")
    environment = child_environment(trains=True)
    assert environment["HARMLESS"] == "yes"
    assert not any("secret" in value for value in environment.values())


def test_a_child_ends_when_its_stdin_closes():
    process = subprocess.Popen(
        [sys.executable, "-m", "local_server.training"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=child_environment(trains=True),
    )
    process.stdin.close()
    assert process.wait(120) == 0
    process.stdout.close()
