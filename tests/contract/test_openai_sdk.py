"""The OpenAI SDK against both chat prefixes: what an OpenAI user pastes works by changing base_url alone."""

import openai
import pytest

from preference.wire import Deployment

TINY = "accounts/fireworks/models/tiny"
MESSAGES = [{"role": "user", "content": "one two three four"}]


@pytest.fixture
def model(client):
    spec = Deployment(base_model=TINY, accelerator_type="NVIDIA_H100_80GB")
    name = client.ensure_deployment("pw-base", spec).name
    return client.wait_until_serving(TINY, name, timeout_s=60)


@pytest.fixture(params=["/v1", "/inference/v1"])
def ask(request, local_server):
    with openai.OpenAI(base_url=local_server.url + request.param, api_key="k", max_retries=0) as sdk:
        yield sdk


def test_a_completion_has_its_usage(ask, model):
    completion = ask.chat.completions.create(model=model, messages=MESSAGES, max_tokens=2)
    assert completion.choices[0].message.content == "one two /base"
    assert completion.usage.completion_tokens == 2
    assert completion.object == "chat.completion"


def test_max_completion_tokens_is_an_alias(ask, model):
    completion = ask.chat.completions.create(model=model, messages=MESSAGES, max_completion_tokens=1)
    assert completion.choices[0].message.content == "one /base"


def test_a_stream_ends_with_its_reason(ask, model):
    chunks = list(ask.chat.completions.create(model=model, messages=MESSAGES, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "one two three four /base "
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_the_models_that_answer_are_listed(ask, model):
    assert model in [m.id for m in ask.models.list()]


def test_an_unknown_model_is_not_found(ask, model):
    with pytest.raises(openai.NotFoundError, match="not deployed"):
        ask.chat.completions.create(model="accounts/local/models/none", messages=MESSAGES)


@pytest.mark.parametrize(
    "wrong",
    [{"messages": []}, {"temperature": 3.0}, {"max_tokens": -1}, {"n": 0}, {"stop": ["a"] * 5}],
)
def test_a_request_out_of_bounds_is_refused_with_the_field(ask, model, wrong):
    with pytest.raises(openai.BadRequestError, match=next(iter(wrong))):
        ask.chat.completions.create(**{"model": model, "messages": MESSAGES, **wrong})


async def both_at_once(url, model):
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as sdk:
        return await sdk.chat.completions.create(model=model, messages=MESSAGES)


def test_the_asynchronous_client_is_answered_too(local_server, model):
    import asyncio

    completion = asyncio.run(both_at_once(local_server.url, model))
    assert completion.choices[0].message.content == "one two three four /base"
