"""Four public files, whole: what comes out of them, written down.

They are not in this repository. Put them into a folder and name it in PREFWORKS_TEST_DATA, or keep it as
../shared/data beside the repository:

  hh-rlhf-harmless-base-test.jsonl.gz    github.com/anthropics/hh-rlhf, harmless-base/test.jsonl.gz
  fireworks-cookbook-orpo-ifeval.jsonl   github.com/fw-ai/cookbook, training/examples/orpo/ifeval/dataset.jsonl
  mt-bench-questions.jsonl               github.com/lm-sys/FastChat, fastchat/llm_judge/data/mt_bench/question.jsonl
  llmbar-natural.json                    github.com/princeton-nlp/LLMBar, Dataset/LLMBar/Natural/dataset.json
"""

import json
import os
from pathlib import Path

import orjson
import pytest

from preference.formats import stage
from preference.profile import profile
from preference.splits import halves, read_prompts, split
from preference.tokens import EstimatedCounter

DATA = Path(os.environ.get("PREFWORKS_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


def source(name):
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {DATA}; PREFWORKS_TEST_DATA names the folder where it is")
    return path


def counts(tallies):
    return {kind: tally.n_rows for kind, tally in tallies.items()}


def prepared(folder, name):
    intake = stage(source(name), folder / "data.jsonl")
    done = split(folder / "data.jsonl", train=folder / "train.jsonl", held_out=folder / "held_out.jsonl")
    return intake, done, profile(folder / "data.jsonl", EstimatedCounter(), intake=intake)


def test_hh_rlhf_harmless(tmp_path):
    intake, done, found = prepared(tmp_path, "hh-rlhf-harmless-base-test.jsonl.gz")
    assert (intake.kind, intake.n_read, intake.n_rows, intake.n_faults) == ("pairs", 2312, 658, 0)
    assert counts(intake.drops) == {"more than one turn": 1646, "the two prompts differ": 5, "empty answer": 3}
    assert intake.drops["the two prompts differ"].lines == [1255, 1689, 1951, 1953, 2037]
    assert counts(intake.conversions) == {
        "chosen and rejected text put into messages": 658,
        "dialogue text cut into messages": 658,
    }
    assert (done.n_train_rows, done.n_train_prompts) == (527, 525)
    assert (done.n_held_out_rows, done.n_held_out_prompts) == (131, 131)
    assert (done.n_duplicates, done.n_near_duplicates) == (0, 3)
    assert [len(half) for half in halves(done.held_out)] == [65, 66]
    assert (found.n_prompts, found.n_contradictions) == (656, 0)
    assert found.chosen_longer_share == pytest.approx(0.45, abs=0.001)
    assert {kind: count.lines for kind, count in found.findings.items()} == {"Email address": [477]}
    assert found.languages["en"] > 0.95
    first = orjson.loads((tmp_path / "data.jsonl").read_bytes().splitlines()[0])
    assert first["input"]["messages"][0]["role"] == "user"
    assert not first["preferred_output"][0]["content"].startswith((" ", "\n"))


def test_fireworks_cookbook_ifeval(tmp_path):
    intake, done, found = prepared(tmp_path, "fireworks-cookbook-orpo-ifeval.jsonl")
    assert (intake.kind, intake.n_read, intake.n_rows, intake.drops) == ("pairs", 100, 100, {})
    assert counts(intake.conversions) == {"chosen and rejected messages put into input and outputs": 100}
    assert (done.n_train_rows, done.n_held_out_rows, done.n_near_duplicates) == (80, 20, 0)
    assert [len(half) for half in halves(done.held_out)] == [10, 10]
    assert found.chosen_longer_share == pytest.approx(0.79)
    assert found.findings == {}
    row = orjson.loads((tmp_path / "data.jsonl").read_bytes().splitlines()[0])
    assert row["preferred_output"][0]["content"].startswith("<think>\nOkay, let's see.")


def test_mt_bench_questions(tmp_path):
    intake, done, _ = prepared(tmp_path, "mt-bench-questions.jsonl")
    assert (intake.kind, intake.n_read, intake.n_rows, intake.drops) == ("prompts", 80, 80, {})
    assert counts(intake.conversions) == {
        "first of several turns taken": 80,
        "prompt column put into messages": 80,
        "fields the API does not know kept for evaluators": 80,
    }
    assert (done.n_train_rows, done.n_held_out_prompts) == (64, 16)
    prompts = list(read_prompts(done.held_out))
    assert all(prompt.row["category"] for prompt in prompts)  # held-out rows keep it, for evaluators
    assert b"category" not in done.train.read_bytes()


def test_a_judges_benchmark_is_read_as_labelled_pairs(tmp_path):
    intake = stage(source("llmbar-natural.json"), tmp_path / "data.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    given = json.loads(source("llmbar-natural.json").read_text())
    assert len(rows) == 100
    assert intake.conversions["labelled outputs put into chosen and rejected"].n_rows == 100
    for row, labelled in zip(rows, given, strict=True):
        assert row["input"]["messages"] == [{"role": "user", "content": labelled["input"]}]
        assert row["preferred_output"][0]["content"] == labelled[f"output_{labelled['label']}"]
        assert row["non_preferred_output"][0]["content"] == labelled[f"output_{3 - labelled['label']}"]


# tokens of all texts in each file, without templates, as five tokenizers counted them
COUNTED = {
    "hh-rlhf-harmless-base-test.jsonl.gz": {
        "cl100k": 58_005, "Qwen": 58_204, "DeepSeek V3": 59_458, "Claude 2": 60_258, "SmolLM2": 60_249,
    },
    "fireworks-cookbook-orpo-ifeval.jsonl": {
        "cl100k": 655_145, "Qwen": 677_106, "DeepSeek V3": 636_569, "Claude 2": 676_298, "SmolLM2": 746_026,
    },
    "mt-bench-questions.jsonl": {
        "cl100k": 5_263, "Qwen": 5_438, "DeepSeek V3": 5_215, "Claude 2": 5_409, "SmolLM2": 5_588,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTED)
def test_the_estimate_is_as_good_as_it_says(tmp_path, name):
    stage(source(name), tmp_path / "data.jsonl")
    total = 0
    for line in (tmp_path / "data.jsonl").read_bytes().splitlines():
        row = orjson.loads(line)
        said = [
            *row.get("input", row)["messages"],
            *row.get("preferred_output", []),
            *row.get("non_preferred_output", []),
        ]
        total += sum(EstimatedCounter().count_texts([message["content"] for message in said]))
    for counted in COUNTED[name].values():
        assert abs(total / counted - 1) <= EstimatedCounter.error
