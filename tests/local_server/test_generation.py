"""The generation child: what a row is answered with hangs on its request alone; counts, stops, schemas, adapters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from local_server.generation.batch import padded_length
from local_server.generation.engine import Engine
from local_server.generation.models import Models
from local_server.training.environment import child_environment
from local_server.training.warm import fast_dtype
from tests.tiny_model import make_tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


class Asked:
    """An engine in this process, and what it sent."""

    def __init__(self, model: Path, models: Models | None = None):
        self.sent: list[dict[str, Any]] = []
        self.engine = Engine(models or Models(), self.sent.append)
        self._model = str(model)

    def take(self, id: str, content: str = "Hello", **request: Any) -> None:
        defaults = {"messages": [{"role": "user", "content": content}], "max_tokens": 12, "temperature": 0}
        self.engine.take({"id": id, "base_model": self._model, **defaults, **request})

    def finish(self) -> dict[str, dict[str, Any]]:
        while not self.engine.idle:
            self.engine.step()
        return {answer["id"]: answer for answer in self.sent if "delta" not in answer}

    def ask(self, content: str = "Hello", **request: Any) -> dict[str, Any]:
        self.take("only", content, **request)
        return self.finish()["only"]


@pytest.fixture
def asked(model) -> Asked:
    return Asked(model)


def tokens(answer: dict[str, Any]) -> list[list[int]]:
    return [choice["token_ids"] for choice in answer["choices"]]


PROMPTS = ["Hello", "What is tea?", "Tell me more about the sea and about " + "very " * 30 + "old ships.", "x", "1 2 3"]


@pytest.mark.parametrize("temperature", [0, 0.9])
def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(model, asked, temperature):
    for i in range(24):
        asked.take(f"r{i}", PROMPTS[i % 5] + "!" * (i // 5), temperature=temperature, seed=i, max_tokens=6 + i)
    together = asked.finish()
    for i in (0, 2, 7, 23):
        alone = Asked(model).ask(PROMPTS[i % 5] + "!" * (i // 5), temperature=temperature, seed=i, max_tokens=6 + i)
        assert tokens(alone) == tokens(together[f"r{i}"])


def test_a_request_that_comes_while_others_are_answered_gets_the_same_answer(model, asked):
    asked.take("early", "What is tea?", max_tokens=20)
    for _ in range(5):
        asked.engine.step()
    asked.take("late", "What is rain?", max_tokens=20)
    assert tokens(asked.finish()["late"]) == tokens(Asked(model).ask("What is rain?", max_tokens=20))


def test_greedy_answers_are_transformers_own(model, asked):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is tea?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    reference = AutoModelForCausalLM.from_pretrained(model).generate(**ids, max_new_tokens=30, do_sample=False)
    answer = asked.ask("What is tea?", max_tokens=30)
    assert tokens(answer)[0] == reference[0, ids["input_ids"].shape[1] :].tolist()


def test_seeds_repeat_and_the_n_answers_differ(asked):
    first = asked.ask(temperature=1, seed=5, n=3)
    again = asked.ask(temperature=1, seed=5, n=3)
    other = asked.ask(temperature=1, seed=6, n=3)
    assert tokens(first) == tokens(again)
    assert tokens(first) != tokens(other)
    assert len({tuple(choice) for choice in tokens(first)}) == 3
    assert [choice["index"] for choice in first["choices"]] == [0, 1, 2]


def test_top_k_1_is_the_greedy_answer_at_any_temperature(asked):
    assert tokens(asked.ask(temperature=2, top_k=1)) == tokens(asked.ask())
    assert tokens(asked.ask(temperature=2, top_p=1e-9)) == tokens(asked.ask())


def test_sampling_follows_the_probabilities(asked):
    answer = asked.ask(temperature=1, seed=1, n=128, max_tokens=1)
    drawn = [choice[0] for choice in tokens(answer)]
    top = asked.ask(max_tokens=1, logprobs=5)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    p = torch.tensor(top[0]["logprob"]).exp().item()
    greedy = tokens(asked.ask(max_tokens=1))[0][0]
    share = drawn.count(greedy) / len(drawn)
    assert abs(share - p) < 4 * (p * (1 - p) / len(drawn)) ** 0.5


def test_usage_counts_the_prompt_once_and_every_token(model, asked):
    from transformers import AutoTokenizer

    prompt = AutoTokenizer.from_pretrained(model).apply_chat_template(
        [{"role": "user", "content": "Hello"}], add_generation_prompt=True, return_dict=False
    )
    answer = asked.ask(n=3, temperature=1, seed=2)
    n_completion = sum(map(len, tokens(answer)))
    assert answer["usage"] == {
        "prompt_tokens": len(prompt),
        "completion_tokens": n_completion,
        "total_tokens": len(prompt) + n_completion,
    }


def test_max_tokens_ends_an_answer(asked):
    choice = asked.ask(max_tokens=5)["choices"][0]
    assert len(choice["token_ids"]) == 5
    assert choice["finish_reason"] == "length"


def test_a_stop_string_ends_an_answer_and_is_left_out(asked):
    text = asked.ask(max_tokens=40)["choices"][0]["text"]
    stop = text[10:12]
    choice = asked.ask(max_tokens=40, stop=["never there", stop])["choices"][0]
    assert choice["text"] == text[: text.index(stop)]
    assert choice["finish_reason"] == "stop"


def test_deltas_add_up_to_the_answer_and_never_take_back(asked):
    sampled = {"max_tokens": 40, "temperature": 1, "seed": 5}  # the greedy answer of a model of noise repeats itself
    whole = asked.ask(**sampled)["choices"][0]["text"]
    stop = next(whole[i : i + 3] for i in range(20, len(whole)) if whole.index(whole[i : i + 3]) == i)
    answer = asked.ask(**sampled, stream=True, stop=[stop])
    deltas = [event["delta"] for event in asked.sent if "delta" in event]
    assert len(deltas) > 3
    assert "".join(deltas) == answer["choices"][0]["text"] == whole[: whole.index(stop)]


def test_logprobs_are_the_model_s_own(model, asked):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    prompt = AutoTokenizer.from_pretrained(model).apply_chat_template(
        [{"role": "user", "content": "Hello"}], add_generation_prompt=True, return_dict=False
    )
    choice = asked.ask(logprobs=2, temperature=1.5, seed=3)["choices"][0]
    ids = torch.tensor([prompt + choice["token_ids"]])
    dtype = fast_dtype("cpu")
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)(ids).logits[0, len(prompt) - 1 : -1].float()
    expected = torch.log_softmax(logits, -1).gather(1, torch.tensor(choice["token_ids"])[:, None]).squeeze(1)
    content = choice["logprobs"]["content"]
    assert [entry["logprob"] for entry in content] == pytest.approx(
        expected.tolist(), abs=1e-4 if dtype == torch.float32 else 0.05
    )
    assert all(len(entry["top_logprobs"]) == 2 for entry in content)


def test_a_schema_binds_even_a_model_of_noise(asked):
    schema = {
        "type": "object",
        "properties": {"winner": {"enum": ["A", "B", "tie"]}, "sure": {"type": "boolean"}},
        "required": ["winner", "sure"],
        "additionalProperties": False,
    }
    for seed in range(4):
        choice = asked.ask(json_schema=schema, temperature=1, seed=seed, max_tokens=60)["choices"][0]
        verdict = json.loads(choice["text"])
        assert verdict["winner"] in ("A", "B", "tie")
        assert isinstance(verdict["sure"], bool)
        assert choice["finish_reason"] == "stop"


def test_rows_with_and_without_a_schema_share_a_batch(model, asked):
    asked.take("free")
    asked.take("bound", json_schema={"type": "boolean"})
    answers = asked.finish()
    assert answers["bound"]["choices"][0]["text"] in ("true", "false")
    assert tokens(answers["free"]) == tokens(Asked(model).ask())


@pytest.mark.parametrize(
    ("request_fields", "code", "message"),
    [
        ({"messages": []}, "INVALID_ARGUMENT", "messages: "),
        ({"temperature": 3}, "INVALID_ARGUMENT", "temperature: "),
        ({"n": 200}, "INVALID_ARGUMENT", "n: "),
        ({"content": "a" * 600}, "INVALID_ARGUMENT", "the model's context 512; shorten it"),
        ({"json_schema": {"type": "strange"}}, "INVALID_ARGUMENT", "cannot be enforced"),
        ({"adapter": "/nowhere"}, "FAILED_PRECONDITION", "tune the model again"),
        ({"base_model": "/nowhere"}, "INTERNAL", "could not be loaded"),
    ],
)
def test_what_cannot_be_answered_says_why_and_harms_nobody(asked, request_fields, code, message):
    asked.take("good")
    asked.take("bad", **request_fields)
    answers = asked.finish()
    assert answers["bad"]["error"]["code"] == code
    assert message in answers["bad"]["error"]["message"]
    assert "choices" in answers["good"]


def test_an_answer_stops_at_the_context_s_end(asked):
    answer = asked.ask("a" * 470, max_tokens=100)
    assert answer["usage"]["total_tokens"] <= 512


def test_a_cancelled_request_is_not_answered_and_the_others_are(asked):
    asked.take("gone", max_tokens=50)
    asked.take("kept", max_tokens=10)
    for _ in range(3):
        asked.engine.step()
    asked.engine.take({"cancel": "gone"})
    asked.engine.take({"cancel": "never heard of"})
    assert set(asked.finish()) == {"kept"}


@pytest.fixture(scope="module")
def adapters(model, tmp_path_factory) -> list[Path]:
    """Three random adapters."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folders = []
    for seed in range(3):
        torch.manual_seed(seed)
        config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
        folders.append(tmp_path_factory.mktemp(f"adapter{seed}"))
        get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(folders[-1])
    return folders


def test_base_and_adapters_answer_side_by_side_each_as_alone(model, asked, adapters):
    for i, adapter in enumerate([None, *adapters]):
        for prompt in PROMPTS[:2]:
            asked.take(f"{i}{prompt}", prompt, adapter=adapter and str(adapter))
    together = asked.finish()
    answers = set()
    for i, adapter in enumerate([None, *adapters]):
        alone = Asked(model).ask(PROMPTS[0], adapter=adapter and str(adapter))
        assert tokens(alone) == tokens(together[f"{i}{PROMPTS[0]}"])
        answers.add(tuple(tokens(alone)[0]))
    assert len(answers) == 4


def test_the_longest_unused_adapter_makes_room_and_comes_back(model, adapters, monkeypatch):
    monkeypatch.setattr("local_server.generation.models.MAX_ADAPTERS", 2)
    models = Models()
    asked = Asked(model, models)
    first = [tokens(asked.ask(adapter=str(adapter))) for adapter in adapters]
    assert len(models.base(model).adapters) == 2
    assert [tokens(asked.ask(adapter=str(adapter))) for adapter in adapters] == first
    assert tokens(asked.ask()) == tokens(Asked(model).ask())


def test_an_adapter_folder_that_was_trained_anew_is_read_anew(asked, adapters, tmp_path):
    import shutil

    place = tmp_path / "adapter"
    shutil.copytree(adapters[0], place)
    before = asked.ask(adapter=str(place))
    shutil.rmtree(place)
    shutil.copytree(adapters[1], place, copy_function=shutil.copyfile)
    assert tokens(asked.ask(adapter=str(place))) != tokens(before)


@pytest.mark.parametrize(
    ("n", "expected"), [(1, 16), (16, 16), (17, 32), (100, 112), (128, 128), (129, 160), (1000, 1024)]
)
def test_prompts_are_padded_by_their_own_length_alone(n, expected):
    assert padded_length(n) == expected


def test_the_child_answers_over_its_pipes_and_ends_with_stdin(model):
    process = subprocess.Popen(
        [sys.executable, "-m", "local_server.generation"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=child_environment(),
    )
    request = {"id": "a", "base_model": str(model), "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3}
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline())
    assert answer["id"] == "a"
    assert answer["usage"]["completion_tokens"] == 3
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()
