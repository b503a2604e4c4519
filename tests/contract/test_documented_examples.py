"""Bodies as the vendor's documentation shows them, against both sides: our client reads and writes them, the local
server takes and gives them.

Sources: docs.fireworks.ai, fine-tuning/dpo-fine-tuning, deployments/autoscaling, guides/inference-error-codes,
api-reference (OpenAPI 4.259.0).
"""

import json

import httpx
import pytest

from blocks import errors
from blocks.client import FireworksClient
from preference.wire import BatchInferenceJob, ChatCompletion, Dataset, Deployment, DpoJob, Evaluator, Model

ROW = {
    "input": {
        "messages": [{"role": "user", "content": "What is Einstein famous for?"}],
        "tools": [],
    },
    "preferred_output": [{"role": "assistant", "content": "Einstein is renowned for his theory of relativity."}],
    "non_preferred_output": [{"role": "assistant", "content": "He was a famous scientist."}],
}

JOB = {
    "name": "accounts/my-account/dpoJobs/my-job",
    "displayName": "My job",
    "createTime": "2026-08-29T10:00:00.123456Z",
    "completedTime": "2026-08-29T10:06:11Z",
    "dataset": "accounts/my-account/datasets/prefs",
    "state": "JOB_STATE_COMPLETED",
    "status": {"code": "OK", "message": ""},
    "createdBy": "me@example.com",
    "trainingConfig": {
        "outputModel": "accounts/my-account/models/my-model",
        "baseModel": "accounts/fireworks/models/qwen3-8b",
        "learningRate": 0.00001,
        "maxContextLength": 8192,
        "loraRank": 16,
        "epochs": 3,
        "batchSizeSamples": 4,
        "optimizerWeightDecay": 0.01,
        "lrScheduler": {"cosine": {"minLrRatio": 0.1}},
    },
    "lossConfig": {"method": "DPO", "dpo": {"beta": 0.1}},
    "trainerLogsSignedUrl": "",
}

DATASET = {
    "name": "accounts/my-account/datasets/prefs",
    "state": "READY",
    "status": {"code": "OK", "message": ""},
    "exampleCount": "2000",
    "estimatedTokenCount": "1234567",
    "format": "CHAT",
    "userUploaded": {},
    "createTime": "2026-08-29T09:00:00Z",
}

MODEL = {
    "name": "accounts/fireworks/models/qwen3-8b",
    "displayName": "Qwen3 8B",
    "kind": "HF_BASE_MODEL",
    "state": "READY",
    "baseModelDetails": {"parameterCount": "8190735360", "moe": False, "tunable": True, "defaultPrecision": "FP8"},
    "contextLength": 40960,
    "trainingContextLength": 256000,
    "supportsLora": True,
    "supportsServerless": False,
    "supervisedLoraTunable": True,
    "useTrainingV2": True,
    "deprecationDate": {"year": 2027, "month": 1, "day": 31},
}

DEPLOYMENT = {
    "name": "accounts/my-account/deployments/my-deployment",
    "baseModel": "accounts/fireworks/models/qwen3-8b",
    "acceleratorType": "NVIDIA_H100_80GB",
    "acceleratorCount": 1,
    "precision": "BF16",
    "enableAddons": True,
    "maxReplicaCount": 1,
    "autoscalingPolicy": {"scaleUpWindow": "30s", "scaleDownWindow": "600s", "scaleToZeroWindow": "3600s"},
    "state": "READY",
    "replicaStats": {"readyReplicaCount": 1},
}

EVALUATOR = {
    "name": "accounts/my-account/evaluators/my-eval",
    "displayName": "Mine",
    "entryPoint": "tests/test_eval.py::test_quality",
    "requirements": "eval-protocol",
    "source": {"type": "TYPE_UPLOAD"},
    "state": "ACTIVE",
    "criteria": [],
}

BATCH = {
    "name": "accounts/my-account/batchInferenceJobs/b",
    "model": "accounts/fireworks/models/glm-5p3",
    "inputDatasetId": "accounts/my-account/datasets/in",
    "outputDatasetId": "accounts/my-account/datasets/out",
    "inferenceParameters": {"maxTokens": 64, "temperature": 0, "extraBody": '{"seed": 1}'},
    "state": "JOB_STATE_RUNNING",
    "jobProgress": {"percent": 50, "totalInputRequests": 10, "successfullyProcessedRequests": 5},
}

RESOURCES = [
    (DpoJob, JOB),
    (Dataset, DATASET),
    (Model, MODEL),
    (Deployment, DEPLOYMENT),
    (Evaluator, EVALUATOR),
    (BatchInferenceJob, BATCH),
]


@pytest.mark.parametrize(("kind", "body"), RESOURCES, ids=lambda x: getattr(x, "__name__", ""))
def test_a_resource_is_read_and_written_without_loss(kind, body):
    written = kind.parse(body).to_json()
    assert {k: v for k, v in written.items() if "Time" not in k} == {k: v for k, v in body.items() if "Time" not in k}


def test_values_are_read_into_proper_types():
    assert Dataset.parse(DATASET).example_count == 2000
    assert Model.parse(MODEL).base_model_details.parameter_count == 8_190_735_360
    assert Deployment.parse(DEPLOYMENT).autoscaling_policy.scale_to_zero_window.total_seconds() == 3600
    job = DpoJob.parse(JOB)
    assert (job.completed_time - job.create_time).total_seconds() == pytest.approx(370.876544)


def test_a_completion_is_read_with_its_usage():
    body = {
        "id": "c6a1",
        "object": "chat.completion",
        "created": 1724924400,
        "model": "accounts/fireworks/models/qwen3-8b",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi!", "reasoning_content": "greet"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 3,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
        "perf_metrics": {},
    }
    completion = ChatCompletion.model_validate(body)
    assert completion.usage.total_tokens == 12
    assert completion.usage.model_extra["prompt_tokens_details"] == {"cached_tokens": 4}
    assert completion.choices[0].message.reasoning_content == "greet"


SCALING_UP = {
    "error": {
        "message": "Deployment is currently scaled to zero and is scaling up. "
        "Please retry your request in a few minutes.",
        "code": "DEPLOYMENT_SCALING_UP",
        "type": "error",
    }
}
NOT_DEPLOYED = {
    "error": {
        "object": "error",
        "type": "invalid_request_error",
        "code": "NOT_FOUND",
        "param": "model",
        "message": "Model not found, inaccessible, and/or not deployed",
    }
}


@pytest.mark.parametrize(
    ("status", "body", "kind"), [(503, SCALING_UP, errors.ScalingUp), (404, NOT_DEPLOYED, errors.NotFound)]
)
def test_an_error_of_inference_is_understood(status, body, kind):
    transport = httpx.MockTransport(lambda request: httpx.Response(status, json=body))
    with FireworksClient("http://x", account="a", transport=transport) as client, pytest.raises(kind) as caught:
        client.chat("m", [{"role": "user", "content": "Hi"}])
    assert caught.value.api_message == body["error"]["message"]


def test_the_server_sends_the_documented_errors(client, local_server):
    def chat(model):
        messages = [{"role": "user", "content": "Hi"}]
        answer = httpx.post(
            f"{local_server.url}/inference/v1/chat/completions", json={"model": model, "messages": messages}
        )
        return answer.status_code, answer.json()

    assert chat("accounts/local/models/none") == (404, NOT_DEPLOYED)
    spec = Deployment(base_model="accounts/fireworks/models/tiny", accelerator_type="NVIDIA_H100_80GB")
    name = client.ensure_deployment("pw-base", spec).name
    client.wait_until_serving(spec.base_model, name, timeout_s=60)
    client.scale_deployment("pw-base", 0)
    status, body = chat(name)
    assert status == 503
    assert body["error"]["code"] == "DEPLOYMENT_SCALING_UP"
    assert body["error"]["type"] == "error"
    assert body["error"]["message"].startswith("Deployment is currently scaled to zero and is scaling up.")


def test_the_server_takes_the_documented_job_and_row(client, local_server, tmp_path):
    path = tmp_path / "prefs.jsonl"
    path.write_text("".join(json.dumps(ROW) + "\n" for _ in range(3)))
    client.ensure_dataset("pw-prefs", path, example_count=3)
    config = {**JOB["trainingConfig"], "baseModel": "accounts/fireworks/models/tiny", "outputModel": "my-model"}
    body = {"dataset": "accounts/local/datasets/pw-prefs", "lossConfig": JOB["lossConfig"], "displayName": "My job"}
    made = httpx.post(
        f"{local_server.url}/v1/accounts/local/dpoJobs?dpoJobId=pw-job",
        json={**body, "trainingConfig": {**config, "maxContextLength": 256}},
    )
    assert made.status_code == 200, made.text
    shown = httpx.get(f"{local_server.url}/v1/accounts/local/dpoJobs/pw-job").json()
    assert shown["trainingConfig"]["lrScheduler"] == {"cosine": {"minLrRatio": 0.1}}
    assert shown["lossConfig"] == JOB["lossConfig"]
    assert shown["name"] == "accounts/local/dpoJobs/pw-job"
