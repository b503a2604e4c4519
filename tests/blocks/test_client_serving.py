"""Deployments and adapters: what is sent, how a model is addressed, when it serves, and what may be taken down."""

import json
from datetime import timedelta

import httpx
import pytest

from blocks import errors
from blocks.client_serving import addresses, check_deployment, evaluation_deployment
from preference.wire import AutoscalingPolicy, Deployment

DEPLOYMENTS = "/v1/accounts/acme/deployments"
D = "accounts/acme/deployments/pw-d"
BASE = "accounts/fireworks/models/qwen3-8b"
TUNED = "accounts/acme/models/pw-m"
CHAT = "POST /inference/v1/chat/completions"
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}]}
COLD = httpx.Response(503, json={"error": {"code": "DEPLOYMENT_SCALING_UP", "message": "scaled to zero"}})
MISSING = httpx.Response(404, json={"error": {"code": "NOT_FOUND", "message": "not deployed"}})


def test_a_deployment_for_evaluation_costs_nothing_while_idle(scripted):
    client, script = scripted({f"POST {DEPLOYMENTS}": {"name": D, "baseModel": BASE}})
    spec = evaluation_deployment(BASE, accelerator_type="NVIDIA_H100_80GB", enable_addons=True, precision="BF16")
    client.ensure_deployment("pw-d", spec)
    [request] = script.requests
    assert dict(request.url.params) == {"deploymentId": "pw-d"}
    assert json.loads(request.content) == {
        "baseModel": BASE,
        "minReplicaCount": 0,
        "maxReplicaCount": 1,
        "autoscalingPolicy": {"scaleToZeroWindow": "300s"},
        "acceleratorType": "NVIDIA_H100_80GB",
        "enableAddons": True,
        "precision": "BF16",
    }


@pytest.mark.parametrize("precision", ["FP8", "FP8_MM", "FP4_MX_MOE"])
def test_adapters_on_quantized_weights_are_not_even_sent(scripted, precision):
    client, script = scripted({})
    with pytest.raises(errors.Refused, match=f"adapters cannot be loaded onto {precision} weights"):
        client.ensure_deployment("pw-d", Deployment(base_model=BASE, enable_addons=True, precision=precision))
    assert script.requests == []


def test_a_window_under_five_minutes_is_not_sent():
    policy = AutoscalingPolicy(scale_to_zero_window=timedelta(minutes=4))
    with pytest.raises(errors.Refused, match="5 minutes is the least"):
        check_deployment(Deployment(base_model=BASE, autoscaling_policy=policy))


@pytest.mark.parametrize(
    ("model", "deployed", "expected"),
    [
        (TUNED, TUNED, [TUNED, f"{TUNED}#{D}", D]),  # live merge: documentation, cookbook, notebook
        (TUNED, BASE, [f"{TUNED}#{D}", TUNED]),  # adapter; the bare deployment would answer as the base
        (BASE, BASE, [D, f"{BASE}#{D}"]),  # base; its bare name would be the serverless one
    ],
)
def test_the_forms_of_a_model_are_tried_in_the_documented_order(model, deployed, expected):
    assert addresses(model, Deployment(name=D, base_model=deployed)) == expected


def answering(address):
    def answer(request):
        return ANSWER if json.loads(request.content)["model"] == address else MISSING

    return answer


@pytest.mark.parametrize("address", [TUNED, f"{TUNED}#{D}", D])
def test_the_form_that_answers_is_remembered(scripted, address):
    client, script = scripted({f"GET /v1/{D}": {"name": D, "baseModel": TUNED}, CHAT: answering(address)})
    assert client.wait_until_serving(TUNED, "pw-d") == address
    client.chat(TUNED, [{"role": "user", "content": "Hello"}])
    assert json.loads(script.requests[-1].content)["model"] == address
    assert script.slept == []


def test_an_earlier_form_that_begins_to_answer_is_preferred(scripted):
    """Asked for while it was loading, it said 404; the fallback was answered because loading was done by then."""
    client, _ = scripted({f"GET /v1/{D}": {"name": D, "baseModel": BASE}, CHAT: [MISSING, ANSWER, ANSWER]})
    assert client.wait_until_serving(TUNED, "pw-d") == f"{TUNED}#{D}"


def test_the_probe_is_one_token(scripted):
    client, script = scripted({f"GET /v1/{D}": {"name": D, "baseModel": BASE}, CHAT: ANSWER})
    client.wait_until_serving(BASE, "pw-d")
    assert json.loads(script.requests[-1].content)["max_tokens"] == 1


def test_scaling_up_is_waited_for_as_documented(scripted):
    client, script = scripted({f"GET /v1/{D}": {"name": D, "baseModel": BASE}, CHAT: [COLD] * 9 + [ANSWER]})
    client.wait_until_serving(BASE, "pw-d")
    documented = [min(60.0, 5.0 * 1.5**n) for n in range(9)]
    assert all(0.75 * d <= s <= d for s, d in zip(script.slept, documented, strict=True))


def test_a_server_that_says_when_is_believed(scripted):
    soon = httpx.Response(COLD.status_code, content=COLD.content, headers={"retry-after": "1"})
    client, script = scripted({f"GET /v1/{D}": {"name": D, "baseModel": BASE}, CHAT: [soon, ANSWER]})
    client.wait_until_serving(BASE, "pw-d")
    assert script.slept == [1.0]


def test_an_adapter_that_is_still_loading_is_waited_for(scripted):
    client, script = scripted({f"GET /v1/{D}": {"name": D, "baseModel": BASE}, CHAT: [MISSING] * 4 + [ANSWER]})
    assert client.wait_until_serving(TUNED, "pw-d") == f"{TUNED}#{D}"
    assert len(script.slept) == 2  # two rounds of two forms


def test_a_deployment_that_failed_ends_the_wait(scripted):
    gone = {"name": D, "baseModel": BASE, "state": "FAILED", "status": {"code": "INTERNAL", "message": "no GPU"}}
    client, _ = scripted({f"GET /v1/{D}": [{"name": D, "baseModel": BASE}, gone], CHAT: COLD})
    with pytest.raises(errors.Failed, match="pw-d is FAILED: INTERNAL: no GPU"):
        client.wait_until_serving(BASE, "pw-d")


def test_a_wait_for_a_model_ends_and_says_that_it_may_cost(scripted):
    client, script = scripted({f"GET /v1/{D}": {"name": D, "baseModel": BASE}, CHAT: COLD})
    with pytest.raises(errors.Overdue, match=r"answers no request 600 s after.*DEPLOYMENT_SCALING_UP.*may cost"):
        client.wait_until_serving(BASE, "pw-d", timeout_s=600)
    assert 600 <= sum(script.slept) < 661


def test_an_error_that_waiting_does_not_mend_is_raised(scripted):
    lora = httpx.Response(412, json={"error": {"message": "LoRA failed to load"}})
    client, _ = scripted({f"GET /v1/{D}": {"name": D, "baseModel": BASE}, CHAT: lora})
    with pytest.raises(errors.Refused, match="LoRA failed to load"):
        client.wait_until_serving(TUNED, "pw-d")


def test_one_chat_does_not_wait_for_a_cold_start(scripted):
    client, script = scripted({CHAT: COLD})
    with pytest.raises(errors.ScalingUp):
        client.chat(D, [{"role": "user", "content": "Hello"}])
    assert len(script.requests) == 1


def test_a_deployment_is_deleted_in_spite_of_recent_traffic(scripted):
    client, script = scripted({f"DELETE /v1/{D}": {}})
    client.delete_deployment("pw-d")
    assert dict(script.requests[0].url.params) == {"ignoreChecks": "true"}


def test_one_that_is_gone_is_deleted_already(scripted):
    client, _ = scripted({})
    client.delete_deployment("pw-d")


def test_one_that_cannot_be_deleted_is_scaled_to_zero_first(scripted):
    refused = httpx.Response(400, json={"code": 9, "message": "in use"})
    client, script = scripted({f"DELETE /v1/{D}": refused, f"PATCH /v1/{D}:scale": {}})
    with pytest.raises(errors.Refused, match="in use"):
        client.delete_deployment("pw-d")
    assert json.loads(script.requests[-1].content) == {"replicaCount": 0}


@pytest.mark.parametrize("name", ["prod", "accounts/other/deployments/pw-d"])
def test_others_deployments_are_neither_deleted_nor_scaled(scripted, name):
    client, script = scripted({})
    for touch in (client.delete_deployment, lambda n: client.scale_deployment(n, 0)):
        with pytest.raises(errors.NotOurs):
            touch(name)
    assert script.requests == []


LOADS = "/v1/accounts/acme/deployedModels"
LOADED = {"name": "accounts/acme/deployedModels/pw-m-1a2b", "model": TUNED, "deployment": D}


def test_an_adapter_is_loaded_once_though_the_platform_names_it(scripted):
    client, script = scripted({f"GET {LOADS}": {"deployedModels": [LOADED]}})
    assert client.ensure_deployed_model("pw-l", TUNED, "pw-d").name == LOADED["name"]
    assert script.sent() == [f"GET {LOADS}"]


def test_a_lost_load_is_found_in_the_list(scripted):
    lists = [{"deployedModels": []}, {"deployedModels": [LOADED]}]
    client, script = scripted({f"GET {LOADS}": lists, f"POST {LOADS}": httpx.ReadTimeout("slow")})
    assert client.ensure_deployed_model("pw-l", TUNED, "pw-d").name == LOADED["name"]
    body = json.loads(script.requests[1].content)
    assert body == {"model": TUNED, "deployment": D, "displayName": "pw-l", "serverless": False}


def test_an_adapter_on_anothers_deployment_is_unloaded_only_if_we_loaded_it(scripted):
    theirs = {**LOADED, "deployment": "accounts/acme/deployments/prod", "displayName": "their adapter"}
    client, _ = scripted({f"GET {LOADS}/x": theirs})
    with pytest.raises(errors.NotOurs, match="deployments/prod was not made here"):
        client.delete_deployed_model("x")
    client, script = scripted({f"GET {LOADS}/x": {**theirs, "displayName": "pw-load"}, f"DELETE {LOADS}/x": {}})
    client.delete_deployed_model("x")
    assert script.sent()[-1] == f"DELETE {LOADS}/x"
