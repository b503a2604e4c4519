"""Batch inference: the files that go in and come out."""

import json

import pytest

from blocks import errors
from blocks.bulk import ChatRequest
from blocks.client_batch import batch_lines, read_batch
from preference.wire import ChatCompletion

COMPLETION = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]}


def asked(key, model="m"):
    return ChatRequest(key, model, [{"role": "user", "content": "größe?"}], {"max_tokens": 8})


def test_a_request_is_a_line():
    lines, model = batch_lines([asked("a"), asked("b")])
    assert model == "m"
    assert json.loads(lines[0]) == {
        "custom_id": "a",
        "body": {"messages": [{"role": "user", "content": "größe?"}], "max_tokens": 8},
    }


@pytest.mark.parametrize("lot", [[asked("a"), asked("b", "other")], [asked("a"), asked("a")], []])
def test_a_batch_is_of_one_model_and_its_keys_differ(lot):
    with pytest.raises(errors.Refused, match="one model and a key of its own"):
        batch_lines(lot)


def test_answers_and_errors_are_read_in_either_shape(tmp_path):
    path = tmp_path / "results.jsonl"
    rows = [
        {"custom_id": "plain", "response": COMPLETION},
        {"custom_id": "nested", "response": {"status_code": 200, "body": COMPLETION}},
        {"custom_id": "refused", "error": {"message": "too long"}},
        {"custom_id": "busy", "error": {"code": "UNAVAILABLE", "message": "try later"}},
        {"custom_id": "odd", "response": {"no": "choices"}},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = dict(read_batch([path]))
    assert isinstance(found["plain"], ChatCompletion)
    assert found["nested"] == found["plain"]
    assert found["refused"].api_message == "too long"
    assert isinstance(found["odd"], errors.BadAnswer)
    assert isinstance(found["busy"], errors.Unavailable)  # it may be asked again


def test_a_line_that_is_none_is_an_error_with_its_place(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({"custom_id": "a", "response": COMPLETION}) + "\nnot json\n")
    with pytest.raises(errors.BadAnswer, match=r"results\.jsonl:2 is not a batch job's answer: 'not json"):
        list(read_batch([path]))
