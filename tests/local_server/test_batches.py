import json

import pytest

TINY = "accounts/fireworks/models/tiny"


def line(id, text="hello there", **body):
    return {"custom_id": id, "body": {"messages": [{"role": "user", "content": text}], **body}}


def start(api, rows, **fields):
    dataset = api.dataset("in", rows)
    body = {"model": TINY, "inputDatasetId": dataset, "outputDatasetId": "out", **fields}
    return api("POST", "batchInferenceJobs", params={"batchInferenceJobId": "b"}, json=body)


def ended(api):
    states = {"JOB_STATE_COMPLETED", "JOB_STATE_FAILED"}
    return api.until("batchInferenceJobs/b", lambda body: body["state"] in states)


def output(api):
    urls = api("GET", "datasets/out:getDownloadEndpoint")["filenameToSignedUrls"]
    files = {name.rsplit("/", 1)[-1]: api.http.get(url).text for name, url in urls.items()}
    return {name: {row["custom_id"]: row for row in map(json.loads, text.splitlines())} for name, text in files.items()}


def test_a_batch_answers_every_line_and_keeps_failures_apart(api):
    rows = [line("a"), line("b", "! refuse=INVALID_ARGUMENT"), line("c", n=2), line("d", n=0)]
    made = start(api, rows, inferenceParameters={"maxTokens": 1, "extraBody": '{"seed": 1}'})
    assert (made["state"], made["outputDatasetId"]) == ("JOB_STATE_CREATING", "accounts/local/datasets/out")
    done = ended(api)
    assert done["state"] == "JOB_STATE_COMPLETED", done
    assert done["jobProgress"] == {
        "percent": 100,
        "totalInputRequests": 4,
        "totalProcessedRequests": 4,
        "successfullyProcessedRequests": 2,
        "failedRequests": 2,
        "outputRows": 3,
        "inputTokens": 20,
        "outputTokens": 3,
    }
    found = output(api)
    answers = {id: row["response"]["choices"] for id, row in found["results.jsonl"].items()}
    assert [choice["message"]["content"] for choice in answers["c"]] == ["hello /base"] * 2  # maxTokens 1
    assert {id: row["error"]["code"] for id, row in found["errors.jsonl"].items()} == dict.fromkeys(
        "bd", "INVALID_ARGUMENT"
    )


def test_a_tuned_model_needs_no_deployment_for_a_batch(api):
    model = api.trained("m")
    start(api, [line("a")], model=model)
    ended(api)
    assert output(api)["results.jsonl"]["a"]["response"]["choices"][0]["message"]["content"] == "hello there /tuned"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([line("a"), {"body": {}}], "line 2: expected custom_id"),
        ([line("a"), line("a")], "line 2: custom_id 'a' is there twice"),
    ],
)
def test_bad_lines_fail_the_job_with_their_number(api, rows, said):
    start(api, rows)
    done = ended(api)
    assert (done["state"], said in done["status"]["message"]) == ("JOB_STATE_FAILED", True), done


def test_an_interrupted_batch_asks_only_for_what_is_missing(start_local_server, connect):
    server = start_local_server()
    api = connect(server.url)
    start(api, [line("quick"), line("slow", "! slow=3")])
    api.until("batchInferenceJobs/b", lambda body: body.get("jobProgress", {}).get("totalProcessedRequests") == 1)
    server.stop()
    with (server.home / "batches/b.results.jsonl").open("a") as file:
        file.write('{"custom_id": "slow", "respon')  # as a kill would leave it
    log = server.home / "generation.log"
    log.write_bytes(b"")
    api = connect(start_local_server(home=server.home).url)
    assert ended(api)["jobProgress"]["successfullyProcessedRequests"] == 2
    assert set(output(api)["results.jsonl"]) == {"quick", "slow"}
    usage = {"startTime": "2020-01-01T00:00:00Z", "endTime": "2100-01-01T00:00:00Z"}
    assert len(api("POST", "usageCosts:query", json={**usage, "groupBy": ["MODEL"]})["rows"]) == 1


def test_a_create_is_checked(api):
    dataset = api.dataset("in", [line("a")])
    base = {"model": TINY, "inputDatasetId": dataset}
    api.fails(404, "POST", "batchInferenceJobs", json={**base, "model": "nope"})
    api.fails(404, "POST", "batchInferenceJobs", json={**base, "inputDatasetId": "nope"})
    assert "already exists" in api.fails(409, "POST", "batchInferenceJobs", json={**base, "outputDatasetId": "in"})


def test_deleting_a_running_batch_ends_it(api):
    start(api, [line("slow", "! slow=20")])
    api.until("batchInferenceJobs/b", lambda body: body["state"] == "JOB_STATE_RUNNING")
    api("DELETE", "batchInferenceJobs/b")
    api.fails(404, "GET", "batchInferenceJobs/b")
