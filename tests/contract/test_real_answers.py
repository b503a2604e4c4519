"""The OpenAI SDK before a real model, of random weights: what is asked of an answer holds for it, on both prefixes."""

import json
import time

import openai
import pytest

from blocks.client import FireworksClient
from preference.wire import Deployment

TINY = "accounts/fireworks/models/tiny"
MESSAGES = [{"role": "user", "content": "Which is better?"}]
VERDICT = {
    "type": "object",
    "properties": {"winner": {"type": "string", "enum": ["A", "B", "tie"]}, "why": {"type": "string", "maxLength": 8}},
    "required": ["why", "winner"],
    "additionalProperties": False,
}


def texts(completion):
    return [choice.message.content for choice in completion.choices]


def asks_as_agreed(ask, model):
    def say(**settings):
        return ask.chat.completions.create(**{"model": model, "messages": MESSAGES, "max_tokens": 8, **settings})

    greedy = say(temperature=0)
    assert texts(say(temperature=0)) == texts(greedy)
    assert greedy.usage.total_tokens == greedy.usage.prompt_tokens + 8

    streamed = list(say(temperature=0, stream=True))
    assert ["".join(c.choices[0].delta.content or "" for c in streamed)] == texts(greedy)
    assert (streamed[-1].choices[0].finish_reason, streamed[-1].usage) == ("length", greedy.usage)

    sampled = say(n=3, seed=7, temperature=1)
    assert texts(say(n=3, seed=7, temperature=1)) == texts(sampled)
    assert len(set(texts(sampled))) == 3

    told = say(temperature=0, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert [len(token.top_logprobs) for token in told] == [2] * 8
    assert all(token.logprob == token.top_logprobs[0].logprob <= 0 for token in told)  # greedy takes the likeliest

    stop = texts(greedy)[0][2]
    stopped = say(temperature=0, stop=[stop]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == (texts(greedy)[0].partition(stop)[0], "stop")

    schema = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": VERDICT}}
    [verdict] = texts(say(max_tokens=120, temperature=1, seed=3, response_format=schema))
    assert json.loads(verdict).keys() == {"why", "winner"}
    with pytest.raises(openai.BadRequestError, match="tools"):
        say(tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])


def test_what_is_asked_of_an_answer_holds_on_both_prefixes(training_server):
    url = training_server.url
    with FireworksClient(url, account="local", sleep=lambda s: time.sleep(s / 20)) as client:
        name = client.ensure_deployment(
            "pw-base", Deployment(base_model=TINY, accelerator_type="NVIDIA_H100_80GB")
        ).name
        model = client.wait_until_serving(TINY, name, timeout_s=240)
    for prefix in ("/v1", "/inference/v1"):
        with openai.OpenAI(base_url=url + prefix, api_key="k", max_retries=0) as ask:
            asks_as_agreed(ask, model)
