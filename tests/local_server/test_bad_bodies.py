"""Whatever a body says: an answer in shape, never a crash, and nothing kept that later breaks a list."""

import json

import pytest

BASE, DATA = "accounts/fireworks/models/tiny", "accounts/local/datasets/d"
ODD = [
    "null", "true", "-1", "1e400", '""', "[[]]", '{"a": {"b": 1}}', '"\\ud800"', '"a\\u0000b"', '"../../etc/passwd"',
    f'"{DATA}"', f"{10**30}",
]  # fmt: skip
SNIPPETS = {"language": "python", "fileContents": {"main.py": "x = 1"}, "entryFile": "main.py", "entryFunc": "f"}
BODIES = {
    "POST datasets": {"datasetId": "odd", "dataset": {"exampleCount": "3", "displayName": "", "format": "CHAT"}},
    "PATCH datasets/d": {"displayName": "x"},
    "POST datasets/up:getUploadEndpoint": {"filenameToSize": {"a.jsonl": 10}},
    "POST dpoJobs": {
        "dataset": DATA, "displayName": "x", "wandbConfig": {}, "purpose": "",
        "trainingConfig": {
            "baseModel": BASE, "outputModel": "odd", "learningRate": 0, "epochs": 0, "loraRank": 0, "loraAlpha": 0,
            "loraDropout": 0, "loraTargetModules": [], "maxContextLength": 0, "batchSizeSamples": 0,
            "learningRateWarmupSteps": 0, "optimizerWeightDecay": 0, "lrScheduler": {"constant": {}}, "batchSize": 0,
        },
        "lossConfig": {"method": "DPO", "dpo": {"beta": 0.1}, "orpo": {"lambda": 1}},
    },
    "POST deployments": {
        "baseModel": BASE, "deploymentShape": "default", "acceleratorType": "", "precision": "BF16",
        "minReplicaCount": 0, "maxReplicaCount": 1,
        "autoscalingPolicy": {"scaleToZeroWindow": "300s"}, "enableAddons": True, "placement": {},
    },
    "PATCH deployments/dep": {"displayName": "x", "minReplicaCount": 0, "autoscalingPolicy": {}},
    "PATCH deployments/dep:scale": {"replicaCount": 1},
    "POST deployedModels": {"model": "accounts/local/models/m", "deployment": "accounts/local/deployments/dep"},
    "POST evaluatorsV2": {
        "evaluatorId": "odd",
        "evaluator": {"entryPoint": "a.py::f", "criteria": [{"type": "CODE_SNIPPETS", "codeSnippets": SNIPPETS}]},
    },
    "POST batchInferenceJobs": {
        "model": BASE, "inputDatasetId": DATA, "outputDatasetId": "odd-out",
        "inferenceParameters": {"extraBody": "{}", "maxTokens": 1},
    },
    "POST usageCosts:query": {
        "startTime": "2026-01-01T00:00:00Z", "endTime": "2027-01-01T00:00:00Z", "groupBy": ["DAY"], "scope": "SELF",
    },
    "POST /v1/chat/completions": {
        "model": "accounts/local/deployments/dep", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2,
        "temperature": 0, "top_p": 1, "top_k": 0, "n": 1, "seed": 1, "stop": ["x"], "logprobs": True, "stream": False,
        "response_format": {"type": "json_schema", "json_schema": {"schema": {}}}, "tools": [], "logit_bias": {},
    },
}  # fmt: skip
COLLECTIONS = ("datasets", "dpoJobs", "deployments", "deployedModels", "evaluators", "batchInferenceJobs", "models")


def holes(body, path=()):
    """The path of every value in a body, and of the body itself."""
    yield path
    for key, value in body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ():
        yield from holes(value, (*path, key))


def filled(body, path, text):
    """The body as JSON text with `text` at the path."""
    if not path:
        return text
    copy = json.loads(json.dumps(body))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "@here@"
    return json.dumps(copy).replace('"@here@"', text)


@pytest.mark.parametrize("endpoint", BODIES)
def test_no_value_anywhere_in_a_body_is_a_crash(api, endpoint, rows_for):
    method, path = endpoint.split()
    path = path if path.startswith("/") else f"/v1/accounts/local/{path}"
    api.dataset("d", rows_for("!hang"))
    api.job("hangs", DATA)  # in the only place, so that the odd ones wait and go at once
    api("POST", "datasets", json={"datasetId": "up", "dataset": {"exampleCount": "3"}})
    api.deployment("dep", enableAddons=True)
    for hole in holes(BODIES[endpoint]):
        for text in ODD:
            content = filled(BODIES[endpoint], hole, text)
            response = api.http.request(method, path, content=content.encode())
            assert response.status_code < 500 or response.status_code in (501, 503), (content[:300], response.text)
            if response.headers["content-type"] == "application/json":
                shown = response.json()
                assert response.is_success or "error" in shown or {"code", "message"} <= shown.keys()
                if method == "POST" and (made := shown.get("name")):
                    api("DELETE", f"/v1/{made}", params={"ignoreChecks": "true"})
    for collection in COLLECTIONS:
        api("GET", collection)


@pytest.mark.parametrize(
    "query",
    [
        {"filter": 'createTime>"2026-01-01"'}, {"filter": "createTime<x"}, {"filter": "(" * 1000},
        {"filter": "a.b.c=1"}, {"filter": "name:*"}, {"filter": "state>true"},
        {"orderBy": "x y z"}, {"orderBy": ","}, {"pageSize": "9" * 5000},
        {"pageSize": "x"}, {"pageToken": "é"}, {"pageToken": "e30="}, {"pageToken": "bnVsbA=="}, {"showDeleted": "?"},
    ],
)  # fmt: skip
def test_no_query_is_a_crash(api, rows_for, query):
    api.dataset("d", rows_for())
    for collection in (*COLLECTIONS, "quotas"):
        assert api.http.get(f"/v1/accounts/local/{collection}", params=query).status_code in (200, 400)


def test_a_read_mask_is_ignored(api, rows_for):
    api.dataset("d", rows_for())
    [masked] = api("GET", "datasets", params={"readMask": "name,nothing"})["datasets"]
    assert masked == api("GET", "datasets/d", params={"readMask": "state"}) == api("GET", "datasets/d")


def test_a_model_is_a_model_and_nothing_else_of_ours(api, rows_for):
    name = api.dataset("d", rows_for())
    body = {"baseModel": name, "deploymentShape": "default"}
    assert "not found" in api.fails(404, "POST", "deployments", json=body)


def test_a_crash_is_answered_in_shape_and_the_connection_goes_on(api, local_server, monkeypatch, caplog):
    monkeypatch.setattr(local_server.services.store, "all", lambda _: 1 / 0)
    for _ in range(3):
        assert api.fails(500, "GET", "datasets") == "internal error; the server's log has the details"
    monkeypatch.undo()
    assert api("GET", "datasets")["datasets"] == []
    assert "ZeroDivisionError" in caplog.text
