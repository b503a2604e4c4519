"""Deployments, adapters and chat, with a scripted generator."""

import json

import httpx
import pytest

BASE = "accounts/local/deployments/base"
HELLO = [{"role": "user", "content": "hello there"}]


def content(response):
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def test_a_deployment_is_ready_before_it_serves(api):
    made = api.deployment("base")
    assert (made["state"], made["replicaCount"], made["maxReplicaCount"]) == ("CREATING", 0, 1)
    cold = api.chat(BASE)
    assert (cold.status_code, cold.json()["error"]["code"]) == (503, "DEPLOYMENT_SCALING_UP")
    api.served(BASE)
    assert content(api.chat(BASE)) == "hello there /base"
    assert api("GET", "deployments/base")["replicaCount"] == 1


def test_an_answer_has_the_apis_shape(api):
    api.deployment("base")
    api.served(BASE)
    response = api.chat(BASE, n=2, user="me", metadata={"a": "b"})
    body = response.json()
    assert body["usage"] == {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
    assert (body["object"], body["model"], body["id"][:9]) == ("chat.completion", BASE, "chatcmpl-")
    assert body["choices"][1] == {
        "index": 1,
        "message": {"role": "assistant", "content": "hello there /base"},
        "finish_reason": "stop",
        "logprobs": None,
    }
    assert response.headers["fireworks-prompt-tokens"] == "10"
    assert response.headers["x-request-id"]


def test_both_prefixes_answer(api):
    api.deployment("base")
    api.served(BASE)
    for prefix in ("/v1", "/inference/v1"):
        body = {"model": BASE, "messages": HELLO}
        assert content(api.http.post(f"{prefix}/chat/completions", json=body)) == "hello there /base"
        assert [model["id"] for model in api.http.get(f"{prefix}/models").json()["data"]] == [BASE]


@pytest.mark.parametrize(
    "model",
    [
        "accounts/fireworks/models/tiny",  # base models, too, are sampled through a deployment
        "accounts/local/models/nope",
        "accounts/local/deployments/nope",
        "accounts/fireworks/models/tiny#accounts/local/deployments/nope",
        "accounts/local/models/nope#accounts/local/deployments/base",
        "gpt-4",
    ],
)
def test_what_is_not_deployed_is_not_found(api, model):
    api.deployment("base")
    api.served(BASE)
    refused = api.chat(model)
    assert refused.status_code == 404
    assert refused.json()["error"] == {
        "object": "error",
        "type": "invalid_request_error",
        "code": "NOT_FOUND",
        "message": "Model not found, inaccessible, and/or not deployed",
        "param": "model",
    }


def test_a_live_merge_answers_to_its_three_names(api):
    model = api.trained("m")
    api.deployment("live", model)
    deployment = "accounts/local/deployments/live"
    api.served(deployment)
    for name in (deployment, model, f"{model}#{deployment}"):
        assert content(api.chat(name)) == "hello there /tuned"


def test_an_adapter_answers_beside_its_base(api):
    model = api.trained("m")
    api.deployment("base", enableAddons=True)
    loaded = api("POST", "deployedModels", json={"model": model, "deployment": BASE})
    assert (loaded["state"], loaded["default"]) == ("DEPLOYING", True)
    id = loaded["name"].rsplit("/", 1)[-1]
    api.until(f"deployedModels/{id}", lambda body: body["state"] == "DEPLOYED")
    assert content(api.chat(f"{model}#{BASE}")) == "hello there /tuned"
    assert content(api.chat(BASE)) == "hello there /base"
    assert content(api.chat(model)) == "hello there /tuned"  # the default target without #deployment
    assert api("GET", "models/m")["deployedModelRefs"][0]["deployment"] == BASE
    again = {"model": model, "deployment": BASE}
    assert loaded["name"] in api.fails(409, "POST", "deployedModels", json=again)
    api("DELETE", f"deployedModels/{id}")
    assert api.chat(f"{model}#{BASE}").status_code == 404


def test_an_adapter_is_loaded_only_where_it_fits(api, local_server, hollow_model):
    model = api.trained("m")
    api.deployment("base")
    body = {"model": model, "deployment": BASE}
    assert "enableAddons" in api.fails(400, "POST", "deployedModels", json=body)
    with (local_server.home / "models.toml").open("a") as file:
        file.write(f'other = "{hollow_model}"\n')
    api.deployment("other", "accounts/fireworks/models/other", enableAddons=True)
    elsewhere = {"model": model, "deployment": "accounts/local/deployments/other"}
    assert "is an adapter of accounts/fireworks/models/tiny" in api.fails(400, "POST", "deployedModels", json=elsewhere)
    assert "serverless" in api.fails(400, "POST", "deployedModels", json={**body, "serverless": True})
    api.fails(404, "POST", "deployedModels", json={**body, "model": "accounts/local/models/nope"})
    api.fails(404, "POST", "deployedModels", json={**body, "deployment": "accounts/local/deployments/nope"})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"deploymentShape": None}, "accelerator_type must be specified"),
        ({"enableAddons": True, "precision": "FP8"}, "addons cannot be enabled with quantized precisions"),
        ({"autoscalingPolicy": {"scaleToZeroWindow": "60s"}}, "at least 300s"),
        ({"minReplicaCount": 2, "maxReplicaCount": 1}, "do not make a range"),
        ({"baseModel": None}, "baseModel"),
    ],
)
def test_a_create_is_checked(api, body, said):
    stated = {"baseModel": "accounts/fireworks/models/tiny", "deploymentShape": "default", **body}
    assert said in api.fails(400, "POST", "deployments", json=stated)


def test_a_deployment_of_an_unknown_model_is_not_found(api):
    body = {"baseModel": "accounts/local/models/nope", "deploymentShape": "default"}
    assert "models/nope not found" in api.fails(404, "POST", "deployments", json=body)


def test_idle_deployments_scale_to_zero_and_come_back(start_local_server, connect, run_in):
    now = [1_800_000_000.0]
    server = start_local_server(clock=lambda: now[0])
    api = connect(server.url)
    api.deployment("base", autoscalingPolicy={"scaleToZeroWindow": "300s"})
    api.deployment("kept", minReplicaCount=1)
    api.served(BASE), api.served("accounts/local/deployments/kept")
    now[0] += 299
    run_in(server, lambda services: services.serving.tick())
    assert api("GET", "deployments/base")["replicaCount"] == 1
    now[0] += 5000
    run_in(server, lambda services: services.serving.tick())
    assert [api("GET", f"deployments/{id}")["replicaCount"] for id in ("base", "kept")] == [0, 1]
    assert api.chat(BASE).status_code == 503  # at once, and it is being warmed
    api.served(BASE)
    assert api("GET", "deployments/base")["replicaCount"] == 1


def test_the_generator_is_stopped_when_nothing_is_served(api, local_server, run_in):
    api.deployment("base")
    api.served(BASE)
    (mark,) = (local_server.home / "children").iterdir()
    api("PATCH", "deployments/base:scale", json={"replicaCount": 0})
    run_in(local_server, lambda services: services.serving.tick())
    assert not mark.exists()
    api("PATCH", "deployments/base:scale", json={"replicaCount": 1})
    api.served(BASE)


def test_a_deployment_with_recent_traffic_is_deleted_only_when_told_to(api):
    api.deployment("base")
    api.served(BASE)
    assert "ignoreChecks" in api.fails(400, "DELETE", "deployments/base")
    api("DELETE", "deployments/base", params={"ignoreChecks": "true"})
    api.fails(404, "GET", "deployments/base")
    assert api.chat(BASE).status_code == 404


def test_a_deployment_that_nobody_has_asked_is_deleted_at_once(api):
    api.deployment("base")
    api.until("deployments/base", lambda body: body["replicaCount"] == 1)
    api("DELETE", "deployments/base")
    api.fails(404, "GET", "deployments/base")


def test_a_patch_changes_limits_and_never_the_model(api):
    api.deployment("base")
    changed = api("PATCH", "deployments/base", json={"maxReplicaCount": 3, "displayName": "D"})
    assert (changed["maxReplicaCount"], changed["displayName"]) == (3, "D")
    assert "acceleratorType cannot be changed" in api.fails(
        400, "PATCH", "deployments/base", json={"acceleratorType": "X"}
    )


def test_a_model_that_is_served_is_not_deleted(api):
    model = api.trained("m")
    api.deployment("live", model)
    assert "is served by accounts/local/deployments/live" in api.fails(400, "DELETE", "models/m")
    api("DELETE", "deployments/live", params={"ignoreChecks": "true"})
    api("DELETE", "models/m")
    api.fails(404, "GET", "models/m")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role must be"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "parts other than text"),
        ({"n": 0}, "n:"),
        ({"n": 129}, "n:"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"logprobs": 9}, "logprobs"),
        ({"tools": [{"type": "function"}]}, "tools: not supported"),
        ({"frequency_penalty": 0.5}, "frequency_penalty: not supported"),
        ({"response_format": {"type": "grammar", "grammar": "x"}}, "'grammar' is not supported"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "must be a JSON schema"),
    ],
)
def test_a_chat_request_is_checked(api, fields, said):
    api.deployment("base")
    api.served(BASE)
    response = api.http.post("/inference/v1/chat/completions", json={"model": BASE, "messages": HELLO, **fields})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "INVALID_ARGUMENT")
    assert said in response.json()["error"]["message"]


def test_a_stream_is_events_and_ends_with_usage(api):
    api.deployment("base")
    api.served(BASE)
    body = {"model": BASE, "messages": HELLO, "stream": True, "n": 2}
    with api.http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    texts = ["", ""]
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == ["hello there /base "] * 2
    assert [choice["finish_reason"] for choice in chunks[-1]["choices"]] == ["stop", "stop"]
    assert chunks[-1]["usage"]["total_tokens"] == 14


def test_a_childs_refusal_keeps_its_status(api):
    api.deployment("base")
    api.served(BASE)
    for stream in (False, True):
        refused = api.chat(BASE, "! refuse=INVALID_ARGUMENT", stream=stream)
        assert (refused.status_code, refused.json()["error"]["message"]) == (400, "as asked")


def test_a_generator_that_dies_fails_what_was_in_flight_and_comes_back(api):
    api.deployment("base")
    api.served(BASE)
    died = api.chat(BASE, "! exit=9")
    assert (died.status_code, "exit code 9" in died.json()["error"]["message"]) == (500, True)
    api.served(BASE)
    assert content(api.chat(BASE)) == "hello there /base"


def test_a_client_that_leaves_frees_its_place(api, local_server, run_in):
    api.deployment("base")
    api.served(BASE)
    with pytest.raises(httpx.ReadTimeout):
        api.http.post(
            "/v1/chat/completions",
            json={"model": BASE, "messages": [{"role": "user", "content": "! slow=20"}]},
            timeout=0.3,
        )
    api.until("/health", lambda _: run_in(local_server, _in_flight) == 0)


async def _in_flight(services):
    return services.generator.in_flight


def test_too_many_at_once_are_told_to_wait(start_local_server, connect):
    api = connect(start_local_server(max_waiting_requests=0).url)
    api.deployment("base")
    api.until("deployments/base", lambda body: body["replicaCount"] == 1)
    refused = api.chat(BASE)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
