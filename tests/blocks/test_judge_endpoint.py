"""The saved judge: its form, its secret, and the address that it is asked at."""

import asyncio
import json
from contextlib import aclosing

import pytest
from pydantic import ValidationError

from blocks import errors
from blocks.answers import answer_texts
from blocks.bulk import ChatRequest
from blocks.judge import JudgeEndpoint
from preference.pairwise import MAX_REASON, RESPONSE_FORMAT, question, read_reply
from tests.scripted_judge import ScriptedJudges

UNBOUNDED = json.loads(json.dumps(RESPONSE_FORMAT).replace(f', "maxLength": {MAX_REASON}', ""))
KEY = "sk-NeverToBeSeen"


@pytest.fixture
def judges():
    served = ScriptedJudges(lambda conversation, one, other: "good" in one)
    yield served
    served.stop()


def ask(judge, n=1):
    params = {"temperature": 0, "max_tokens": judge.max_tokens, "response_format": RESPONSE_FORMAT}
    messages = question("Prefer the good one.", [{"role": "user", "content": "Hi"}], "good", "bad")

    async def collect():
        requests = [ChatRequest(str(i), judge.model, messages, params) for i in range(n)]
        async with aclosing(judge.chat_many(requests)) as results:
            return [result async for result in results]

    return asyncio.run(collect())


def test_it_is_asked_at_its_own_address_with_its_key(judges):
    [result] = ask(JudgeEndpoint(base_url=judges.url, model="perfect", api_key=KEY))
    assert read_reply(answer_texts(result.completion)[0]).verdict == "A"
    assert judges.headers[0]["path"] == "/v1/chat/completions"
    assert judges.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert (judges.bodies[0]["model"], judges.bodies[0]["temperature"]) == ("perfect", 0)


@pytest.mark.parametrize("ending", ["", "/", "/chat/completions", "/chat/completions/"])
def test_the_address_may_be_given_as_people_copy_it(ending):
    assert JudgeEndpoint(base_url=f" https://host/api/v1{ending}", model="m").base_url == "https://host/api/v1"
    with pytest.raises(ValidationError, match="base_url must be an address"):
        JudgeEndpoint(base_url=f"host/v1{ending}", model="m")


def test_a_judge_that_hangs_runs_out_of_patience(judges):
    [result] = ask(JudgeEndpoint(base_url=judges.url, model="hang", read_timeout_s=0.2, patience_s=0.5))
    assert isinstance(result.error, errors.LostAnswer)
    assert result.completion is None


def test_one_that_never_answered_is_not_waited_for_by_each_question(judges):
    """Each would take the half second that the first two take; all ten take it once."""
    judge = JudgeEndpoint(base_url=judges.url, model="hang", read_timeout_s=0.2, patience_s=0.5, concurrency=2)
    results = ask(judge, n=10)
    assert all(isinstance(result.error, errors.LostAnswer) for result in results)
    assert sorted(result.tries > 0 for result in results) == [False] * 8 + [True] * 2


def test_a_refusal_is_a_result_and_a_wrong_key_ends_it_all(judges):
    [result] = ask(JudgeEndpoint(base_url=judges.url, model="refuse"))
    assert "response_format is not supported" in str(result.error)
    with pytest.raises(errors.NotAllowed, match="no such key"):
        ask(JudgeEndpoint(base_url=judges.url, model="locked"))


@pytest.mark.parametrize(
    ("model", "told", "sent"),
    [
        ("perfect", "", {"max_tokens": 1024, "temperature": 0, "response_format": RESPONSE_FORMAT}),
        ("unbounded", "", {"max_tokens": 1024, "temperature": 0, "response_format": UNBOUNDED}),
        (
            "json-mode",
            "without a schema",
            {"max_tokens": 1024, "temperature": 0, "response_format": {"type": "json_object"}},
        ),
        (
            "words",
            "without a schema, without JSON mode, for JSON in words",
            {"max_tokens": 1024, "temperature": 0},
        ),
        (
            "thinker",
            "without a temperature",
            {"max_completion_tokens": 1024, "response_format": RESPONSE_FORMAT},
        ),
    ],
)
def test_what_an_endpoint_does_not_take_is_left_out_once_and_said(judges, model, told, sent):
    results = ask(JudgeEndpoint(base_url=judges.url, model=model, concurrency=1), n=3)
    assert [read_reply(answer_texts(result.completion)[0]).verdict for result in results] == ["A"] * 3
    assert [result.request.adapted for result in results] == [told] * 3
    assert {key: judges.bodies[-1].get(key) for key in sent} == sent
    assert judges.bodies[-3:-1] == [judges.bodies[-1]] * 2  # learned at the first question
    assert not {"max_tokens", "temperature", "response_format"} & set(judges.bodies[-1]) - set(sent)


def test_its_form_has_required_fields_and_no_unions():
    schema = JudgeEndpoint.model_json_schema()
    assert schema["required"] == ["base_url", "model"]
    assert "anyOf" not in json.dumps(schema["properties"])
    assert schema["properties"]["api_key"]["writeOnly"] is True


def test_the_key_is_not_shown():
    judge = JudgeEndpoint(base_url="https://host/v1", model="m", api_key=KEY)
    assert KEY not in repr(judge) + str(judge) + judge.model_dump_json()


def test_a_price_is_unknown_until_both_parts_are_given():
    assert JudgeEndpoint(base_url="https://host/v1", model="m").usd_per_million is None
    assert JudgeEndpoint(base_url="https://h/v1", model="m", usd_per_million_prompt_tokens=1).usd_per_million is None
    free = {"usd_per_million_prompt_tokens": 0, "usd_per_million_completion_tokens": 0}
    assert JudgeEndpoint(base_url="https://host/v1", model="m", **free).usd_per_million == (0, 0)
