"""The whole way with the real trainer and the real generator, on a model of a few thousand weights."""

import json
import math
from datetime import datetime, timedelta

import pytest

ROWS = [
    {
        "input": {"messages": [{"role": "user", "content": f"How many are {n}?"}]},
        "preferred_output": [{"role": "assistant", "content": "aaaa"}],
        "non_preferred_output": [{"role": "assistant", "content": "zzzzzzzz"}],
    }
    for n in range(6)
]
BASE = "accounts/local/deployments/base"


@pytest.fixture
def api(training_server, connect):
    return connect(training_server.url)


def train(api, name, dataset, **loss):
    config = {"learningRate": 0.05, "epochs": 8, "batchSizeSamples": 3, "loraRank": 4}
    api.job(name, dataset, trainingConfig=config, **({"lossConfig": loss} if loss else {}))


def metrics(api, job):
    url = api("GET", f"dpoJobs/{job}:getMetricsFileEndpoint")["signedUrl"]
    return [json.loads(line) for line in api.http.get(url).text.splitlines()]


def test_jobs_train_and_their_models_answer_beside_their_base(api):
    dataset = api.dataset("d", ROWS)
    train(api, "dpo", dataset)
    train(api, "orpo", dataset, method="ORPO", orpo={"lambda": 0.5})
    for job in ("dpo", "orpo"):
        done = api.until(
            f"dpoJobs/{job}", lambda body: body["state"] in ("JOB_STATE_COMPLETED", "JOB_STATE_FAILED"), 240
        )
        assert done["state"] == "JOB_STATE_COMPLETED", done["status"]
    first, last = metrics(api, "dpo")[0], metrics(api, "dpo")[-1]
    assert first["dpo_loss"] == pytest.approx(math.log(2), abs=0.02)
    assert (last["step"], last["margin"] > first["margin"]) == (16, True)

    api.deployment("base", enableAddons=True)
    api("POST", "deployedModels", json={"model": "accounts/local/models/dpo", "deployment": BASE})
    api.until("deployments/base", lambda body: body["replicaCount"] == 1, 240)
    api.served(f"accounts/local/models/dpo#{BASE}")
    tuned = api.chat(f"accounts/local/models/dpo#{BASE}", "How many are 9?", max_tokens=8, temperature=0).json()
    base = api.chat(BASE, "How many are 9?", max_tokens=8, temperature=0, logprobs=True, top_logprobs=2).json()
    assert tuned["choices"][0]["message"]["content"] != base["choices"][0]["message"]["content"]
    assert base["usage"]["prompt_tokens"] == tuned["usage"]["prompt_tokens"] > 15
    assert base["usage"]["completion_tokens"] == len(base["choices"][0]["logprobs"]["content"])
    assert len(base["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 2
    again = api.chat(BASE, "How many are 9?", max_tokens=8, temperature=0).json()
    assert again["choices"][0]["message"] == base["choices"][0]["message"]

    schema = {
        "type": "object",
        "properties": {"score": {"enum": [1, 2, 3]}},
        "required": ["score"],
        "additionalProperties": False,
    }
    structured = api.chat(
        BASE,
        "Score it.",
        max_tokens=64,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
    ).json()
    assert json.loads(structured["choices"][0]["message"]["content"])["score"] in (1, 2, 3)

    # a token a byte: 34 of the prompt, 6 and 10 of the answers with their ends, 6 pairs, 8 epochs
    assert base["usage"]["prompt_tokens"] == 34
    started = api("GET", "dpoJobs/dpo")["createTime"]
    usage = {"startTime": started, "endTime": _days_later(started, 2)}
    charged = api("GET", "billing/summary", params=usage)["lineItems"]
    assert [line["quantity"] for line in charged if line["category"] == "TRAINING"] == [2 * 8 * 6 * (2 * 34 + 6 + 10)]


def _days_later(time, days):
    return (datetime.fromisoformat(time) + timedelta(days=days)).isoformat()
