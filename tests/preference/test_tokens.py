"""Exact counts are held to transformers' own rendering and tokenising of the same rows."""

import json
from pathlib import Path

import numpy as np
import orjson
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from preference.chat_template import ChatTemplate, TemplateError
from preference.formats import stage
from preference.tokens import EstimatedCounter, ExactCounter, TokenizerMissing, count_file, counter_for, estimate

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{{- bos_token }}{%- if tools %}{{ tools | tojson(indent=4) }}{%- endif %}"
    "{%- for message in messages %}\n{{- '<|im_start|>' + message.role + '\n\n' }}"
    "{{- message.content | trim + '<|im_end|>' }}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n{{- '<|im_start|>assistant\n\n' }}\n{%- endif %}"
)
GENERATION = (
    "{% for message in messages %}{% if message.role == 'assistant' %}A:{% generation %}{{ message.content }}"
    "<|im_end|>{% endgeneration %}{% else %}U:{{ message.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}A:{% endif %}"
)
TEXTS = [
    "Why is the sky blue?",
    "",
    " leading and trailing ",
    "\n\nlines\n",
    "naïve café, 日本語 and 🙂",
    "1234567 + 89 = <|im_start|>",
    "def f(x):\n    return x ** 2",
    "-",
]


@pytest.fixture(scope="module")
def tokenizer_json():
    """A byte-level BPE, trained on this repository's own sources."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>", "<s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(path) for path in Path(__file__).parent.glob("*.py")], trainer)
    return tokenizer.to_str()


@pytest.fixture
def folder_with(tmp_path, tokenizer_json):
    def make(template, config=None):
        folder = tmp_path / "tokenizer"
        folder.mkdir(exist_ok=True)
        (folder / "tokenizer.json").write_text(tokenizer_json)
        config = {"bos_token": "<s>", "tokenizer_class": "PreTrainedTokenizerFast"} | (config or {})
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        if template:
            (folder / "chat_template.jinja").write_text(template)
        return folder

    return make


def rows_of(texts):
    for prompt in texts:
        for answer in texts:
            yield {
                "input": {"messages": [{"role": "user", "content": prompt}]},
                "preferred_output": [{"role": "assistant", "content": answer}],
                "non_preferred_output": [{"role": "assistant", "content": "No."}],
            }


@pytest.mark.parametrize("template", [CHATML, LLAMA, GENERATION], ids=["ChatML", "Llama", "generation"])
def test_counts_are_those_of_transformers(folder_with, template):
    transformers = pytest.importorskip("transformers", reason="the reference comes with the extra `local`")
    folder = folder_with(template)
    reference = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), bos_token="<s>")
    reference.chat_template = template

    def n_tokens(messages, **options):
        text = reference.apply_chat_template(messages, tokenize=False, **options)
        return len(reference(text, add_special_tokens=False)["input_ids"])

    rows = list(rows_of(TEXTS))
    for row, (prompt, chosen, rejected) in zip(rows, ExactCounter(folder).count_rows(rows), strict=True):
        messages = row["input"]["messages"]
        assert prompt == n_tokens(messages, add_generation_prompt=True)
        assert prompt + chosen == n_tokens([*messages, *row["preferred_output"]])
        assert prompt + rejected == n_tokens([*messages, *row["non_preferred_output"]])


def test_tools_are_part_of_the_prompt(folder_with):
    counter = ExactCounter(folder_with(LLAMA))
    plain = {"messages": [{"role": "user", "content": "Hi"}]}
    tools = plain | {"tools": [{"type": "function", "function": {"name": "f"}}]}
    (without, *_), (with_tools, *_) = counter.count_rows([plain, tools])
    assert with_tools > without + 20


def test_a_template_inside_the_configuration_is_found_by_its_name(folder_with):
    templates = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": CHATML}]
    inside = ExactCounter(folder_with(None, {"chat_template": templates, "bos_token": {"content": "<s>"}}))
    assert inside.count_rows(list(rows_of(["a"]))) == ExactCounter(folder_with(CHATML)).count_rows(list(rows_of(["a"])))


def test_what_is_missing_is_said(tmp_path, folder_with):
    with pytest.raises(TokenizerMissing, match=r"tokenizer gives no exact token counts: it has no chat template"):
        ExactCounter(folder_with(None))
    with pytest.raises(TokenizerMissing, match=r"No such file or directory: '.*tokenizer\.json'"):
        ExactCounter(tmp_path)
    with pytest.raises(TokenizerMissing, match="the chat template is broken"):
        ExactCounter(folder_with("{% for %}"))
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer" / "chat_template.jinja").write_text(CHATML)
    with pytest.raises(TokenizerMissing, match="tokenizer gives no exact token counts"):
        ExactCounter(tmp_path / "tokenizer")


def test_a_template_is_a_stranger_and_gets_nothing():
    escape = ChatTemplate("{{ messages.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(TemplateError, match="unsafe"):
        escape.render([], None, open_answer=False)
    with pytest.raises(TemplateError, match="no system prompts here"):
        ChatTemplate("{{ raise_exception('no system prompts here') }}").render([], None, open_answer=False)
    with pytest.raises(TemplateError):
        ChatTemplate("{% for i in range(10**9) %}x{% endfor %}").render([], None, open_answer=False)


def test_a_date_in_a_template_does_not_change_counts_from_day_to_day():
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}")
    assert template.render([], None, open_answer=False) == "26 Jul 2024"


class Counting:
    """A counter that keeps what it was asked."""

    name, error, fingerprint = "counting", None, "counting"

    def __init__(self):
        self.asked = []

    def count_texts(self, texts):
        return [len(text) for text in texts]

    def count_rows(self, rows):
        self.asked += rows
        return [(len(row["input"]["messages"][0]["content"]), 2, 3) for row in rows]


def test_a_row_is_tokenised_once_in_its_life(tmp_path):
    rows = list(rows_of(["a", "bb", "ccc"]))[:8]

    def write(name, rows):
        (tmp_path / f"{name}.source").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        stage(tmp_path / f"{name}.source", tmp_path / name)
        return tmp_path / name

    counter, cache = Counting(), tmp_path / "cache"
    first = count_file(write("a", rows[:5]), counter, cache)
    assert len(counter.asked) == 5
    again = count_file(write("b", [rows[6], *rows[:5]]), counter, cache)
    assert counter.asked[5:] == [rows[6]]
    assert np.array_equal(again[1:], first)
    count_file(write("c", rows[:7]), counter, cache)
    assert counter.asked[6:] == [rows[5]]
    (cache / "tokens-counting.npz").write_bytes(b"broken")
    assert np.array_equal(count_file(tmp_path / "a", counter, cache), first)


def test_an_estimate_says_that_it_is_one():
    counter = counter_for(None)
    assert isinstance(counter, EstimatedCounter)
    assert counter.error is not None
    assert estimate("") == 0
    ((prompt, chosen, rejected),) = counter.count_rows([{"messages": [{"role": "user", "content": "Hi"}]}])
    assert prompt > 0
    assert (chosen, rejected) == (0, 0)
