"""Our client against the local server: each of its methods, the server doing what it really does."""

import asyncio
import json
import tracemalloc
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from blocks import errors
from blocks.bulk import ChatRequest
from blocks.client import FireworksClient
from blocks.client_billing import money_usd
from blocks.client_jobs import ProgressWatch
from preference.wire import (
    BatchInferenceJob,
    Deployment,
    DpoJob,
    DpoLoss,
    Evaluator,
    LossConfig,
    OrpoLoss,
    TrainingConfig,
)

TINY = "accounts/fireworks/models/tiny"
GPU = "NVIDIA_H100_80GB"


def job_spec(dataset="pw-data", **loss):
    return DpoJob(
        dataset=dataset,
        training_config=TrainingConfig(
            base_model=TINY, output_model="pw-out", epochs=1, lora_rank=8, learning_rate=1e-5
        ),
        loss_config=LossConfig(**loss) if loss else None,
    )


def finished(client, wait_until, job="pw-job"):
    return wait_until(lambda: client.get_dpo_job(job), lambda j: j.state in ("JOB_STATE_COMPLETED", "JOB_STATE_FAILED"))


def trained(client, pairs_file, wait_until, **loss):
    client.ensure_dataset("pw-data", pairs_file(3), example_count=3)
    client.ensure_dpo_job("pw-job", job_spec(**loss))
    assert finished(client, wait_until).state == "JOB_STATE_COMPLETED"
    return "accounts/local/models/pw-out"


def test_the_account_and_the_address_are_found(local_server):
    for form in ("", "/", "/v1", "/v1/", "/inference/v1"):
        with FireworksClient(local_server.url + form) as client:
            assert client.account == "local"


def test_a_dataset_is_made_once_and_comes_back_as_it_was(client, pairs_file, tmp_path):
    path = pairs_file(5)
    first = client.ensure_dataset("pw-data", path, example_count=5, display_name="Five pairs")
    again = client.ensure_dataset("pw-data", path, example_count=5)
    assert first.state == again.state == "READY"
    assert (again.example_count, again.display_name, again.create_time) == (5, "Five pairs", first.create_time)
    [copy] = client.download_dataset("pw-data", tmp_path / "down")
    assert copy.read_bytes() == path.read_bytes()
    assert [d.name for d in client.list_datasets()] == ["accounts/local/datasets/pw-data"]


def test_another_dataset_under_the_same_id_is_refused(client, pairs_file):
    client.ensure_dataset("pw-data", pairs_file(5), example_count=5)
    with pytest.raises(errors.Conflict, match="exampleCount is '5', asked for was '6'"):
        client.ensure_dataset("pw-data", pairs_file(6), example_count=6)


def test_a_large_dataset_goes_up_in_shards_and_comes_down_whole(client, tmp_path, pairs_file):
    path = pairs_file(400)
    client.small_upload_bytes, client.shard_bytes = 1000, 10_000
    client.ensure_dataset("pw-data", path, example_count=400)
    parts = client.download_dataset("pw-data", tmp_path / "down")
    assert len(parts) > 3
    assert b"".join(part.read_bytes() for part in parts) == path.read_bytes()


def test_an_upload_that_was_begun_and_left_is_finished(client, pairs_file):
    client.create_dataset("pw-data", example_count=3)
    assert client.get_dataset("pw-data").state == "UPLOADING"
    assert client.ensure_dataset("pw-data", pairs_file(3), example_count=3).state == "READY"


def test_a_dataset_that_we_did_not_make_is_never_deleted(client, local_server, pairs_file):
    client.create_dataset("theirs", example_count=3)
    with pytest.raises(errors.NotOurs, match="theirs was not made here"):
        client.delete_dataset("theirs")
    client.create_dataset("pw-1-aaaa-data", example_count=3)
    other = FireworksClient(local_server.url, account="local", session="2-bbbb")
    with other, pytest.raises(errors.NotOurs, match="'pw-2-bbbb-'"):
        other.delete_dataset("pw-1-aaaa-data")
    with FireworksClient(local_server.url, account="local", session="1-aaaa") as same:
        same.delete_dataset("pw-1-aaaa-data")
        same.delete_dataset("pw-1-aaaa-data")  # gone is as good
    assert [d.name for d in client.list_datasets()] == ["accounts/local/datasets/theirs"]


@pytest.mark.parametrize(
    "loss",
    [
        {},
        {"method": "DPO", "dpo": DpoLoss(beta=0.2)},
        {"method": "ORPO", "orpo": OrpoLoss(orpo_lambda=0.3)},
    ],
)
def test_a_job_is_started_once_and_its_metrics_are_read(client, pairs_file, wait_until, loss):
    client.ensure_dataset("pw-data", pairs_file(3, "! steps=3"), example_count=3)
    first = client.ensure_dpo_job("pw-job", job_spec(**loss))
    again = client.ensure_dpo_job("pw-job", job_spec(**loss))
    assert first.name == again.name == "accounts/local/dpoJobs/pw-job"
    assert len(client.list_dpo_jobs()) == 1
    done = finished(client, wait_until)
    assert done.loss_config.method == loss.get("method", "DPO")
    if "orpo" in loss:
        assert done.loss_config.orpo.orpo_lambda == 0.3
    assert [m["step"] for m in client.dpo_job_metrics("pw-job")] == [1, 2, 3]
    assert client.get_model("pw-out").peft_details.base_model == TINY


def test_a_job_with_other_settings_under_the_same_id_is_refused(client, pairs_file):
    client.ensure_dataset("pw-data", pairs_file(3), example_count=3)
    client.ensure_dpo_job("pw-job", job_spec(method="DPO", dpo=DpoLoss(beta=0.1)))
    with pytest.raises(errors.Conflict, match=r"lossConfig\.dpo\.beta is 0\.1, asked for was 0\.3"):
        client.ensure_dpo_job("pw-job", job_spec(method="DPO", dpo=DpoLoss(beta=0.3)))
    with pytest.raises(errors.Conflict, match=r"lossConfig\.method is 'DPO', asked for was 'ORPO'"):
        client.ensure_dpo_job("pw-job", job_spec(method="ORPO"))


def test_a_job_is_cancelled_and_resumed(client, pairs_file, wait_until):
    client.ensure_dataset("pw-data", pairs_file(3, "! steps=400 pause=0.02"), example_count=3)
    client.ensure_dpo_job("pw-job", job_spec())
    wait_until(lambda: client.get_dpo_job("pw-job").state, lambda s: s == "JOB_STATE_RUNNING")
    client.cancel_dpo_job("pw-job")
    wait_until(lambda: client.get_dpo_job("pw-job").state, lambda s: s == "JOB_STATE_CANCELLED")
    assert client.resume_dpo_job("pw-job").state != "JOB_STATE_CANCELLED"
    client.cancel_dpo_job("pw-job")


def test_a_job_that_hangs_is_suspected_but_left_alone(client, pairs_file, wait_until):
    client.ensure_dataset("pw-data", pairs_file(3, "! hang"), example_count=3)
    client.ensure_dpo_job("pw-job", job_spec())
    job = wait_until(lambda: client.get_dpo_job("pw-job"), lambda j: j.state == "JOB_STATE_RUNNING")
    times = iter([0.0, 1799.0, 1801.0])
    watch = ProgressWatch(clock=lambda: next(times))
    assert [watch.saw(job, len(client.dpo_job_metrics("pw-job"))) for _ in range(3)] == [None, None, 1801.0]
    assert client.get_dpo_job("pw-job").state == "JOB_STATE_RUNNING"
    client.cancel_dpo_job("pw-job")


def test_a_failed_job_says_why(client, pairs_file, wait_until):
    client.ensure_dataset("pw-data", pairs_file(3, "! exit=3"), example_count=3)
    client.ensure_dpo_job("pw-job", job_spec())
    job = finished(client, wait_until)
    assert job.state == "JOB_STATE_FAILED"
    assert job.status.message


def test_names_are_resolved_as_people_write_them(client):
    assert client.resolve_model("tiny").name == TINY
    assert client.resolve_model("Tiny").name == TINY
    assert client.resolve_model(TINY).name == TINY
    with pytest.raises(errors.NotFound, match=f"no model is called 'tinny'. The nearest: {TINY}"):
        client.resolve_model("tinny")
    client.require_tunable(client.get_model(TINY))


def test_a_tuned_model_is_no_base_for_a_job(client, pairs_file, wait_until):
    tuned = trained(client, pairs_file, wait_until)
    with pytest.raises(errors.NotTunable, match="The nearest that can"):
        client.require_tunable(client.get_model(tuned))


def test_a_base_model_answers_on_its_deployment(client):
    spec = Deployment(base_model=TINY, accelerator_type=GPU, min_replica_count=0)
    first = client.ensure_deployment("pw-base", spec)
    assert client.ensure_deployment("pw-base", spec).create_time == first.create_time
    assert client.wait_until_serving(TINY, "pw-base", timeout_s=60) == first.name
    completion = client.chat(TINY, [{"role": "user", "content": "a b c"}], max_tokens=2, temperature=0)
    assert completion.choices[0].message.content == "a b /base"
    client.delete_deployment("pw-base")
    client.delete_deployment("pw-base")
    assert client.list_deployments() == []


def test_adapters_and_their_base_share_a_deployment(client, pairs_file, wait_until):
    tuned = trained(client, pairs_file, wait_until)
    spec = Deployment(base_model=TINY, accelerator_type=GPU, enable_addons=True, precision="BF16")
    on = client.ensure_deployment("pw-base", spec).name
    first = client.ensure_deployed_model("pw-load", tuned, "pw-base")
    assert client.ensure_deployed_model("pw-load", tuned, "pw-base").name == first.name
    assert client.wait_until_serving(tuned, on, timeout_s=60) == f"{tuned}#{on}"
    assert client.wait_until_serving(TINY, on, timeout_s=60) == on
    said = {m: client.chat(m, [{"role": "user", "content": "x"}]).choices[0].message.content for m in (tuned, TINY)}
    assert said == {tuned: "x /tuned", TINY: "x /base"}
    client.delete_deployed_model(first.name)
    assert client.list_deployed_models() == []


def test_a_live_merge_is_addressed_as_the_documentation_says(client, pairs_file, wait_until):
    tuned = trained(client, pairs_file, wait_until)
    client.ensure_deployment("pw-merge", Deployment(base_model=tuned, accelerator_type=GPU))
    assert client.wait_until_serving(tuned, "pw-merge", timeout_s=60) == tuned
    assert client.chat(tuned, [{"role": "user", "content": "x"}]).choices[0].message.content == "x /tuned"


@pytest.fixture
def served(client):
    client.ensure_deployment("pw-base", Deployment(base_model=TINY, accelerator_type=GPU))
    client.wait_until_serving(TINY, "pw-base", timeout_s=60)
    return client


def ask_all(client, requests, concurrency=16):
    async def run():
        return [r async for r in client.chat_many(requests, concurrency=concurrency, patience_s=30)]

    return asyncio.run(run())


def requests(n, text="row {i}", **params):
    return [ChatRequest(f"r{i}", TINY, [{"role": "user", "content": text.format(i=i)}], params) for i in range(n)]


def test_many_answers_come_each_to_its_question(served):
    results = ask_all(served, requests(200, max_tokens=8))
    assert {r.request.key: r.completion.choices[0].message.content for r in results} == {
        f"r{i}": f"row {i} /base" for i in range(200)
    }
    assert all(r.error is None and r.tries == 1 for r in results)


def test_a_bad_request_among_many_is_a_result_with_its_error(served):
    lot = [*requests(3), ChatRequest("bad", TINY, [{"role": "user", "content": "x"}], {"temperature": 9}), *requests(3)]
    results = ask_all(served, lot)
    [bad] = [r for r in results if r.request.key == "bad"]
    assert bad.completion is None
    assert isinstance(bad.error, errors.Refused)
    assert bad.tries == 1
    assert sum(r.completion is not None for r in results) == 6


def test_requests_are_taken_only_as_they_are_needed(served):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield ChatRequest(f"r{taken}", TINY, [{"role": "user", "content": "x"}])

    async def first_ten():
        async with aclosing(served.chat_many(endless(), concurrency=4)) as results:
            seen = 0
            async for _ in results:
                seen += 1
                if seen == 10:
                    return

    asyncio.run(first_ten())
    assert taken <= 10 + 4


def test_a_key_that_is_refused_ends_the_whole_lot(start_local_server):
    server = start_local_server(key="right")
    with FireworksClient(server.url, "wrong", "local") as client, pytest.raises(errors.BadKey):
        ask_all(client, requests(50))


def test_a_batch_job_is_made_once_and_answers(served, tmp_path, wait_until):
    path = tmp_path / "requests.jsonl"
    rows = [{"custom_id": f"r{i}", "body": {"messages": [{"role": "user", "content": f"q {i}"}]}} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    served.ensure_dataset("pw-in", path, example_count=4)
    spec = BatchInferenceJob(model=TINY, input_dataset_id="pw-in", output_dataset_id="pw-answers")
    served.ensure_batch_inference_job("pw-batch", spec)
    served.ensure_batch_inference_job("pw-batch", spec)
    assert len(served.list_batch_inference_jobs()) == 1
    job = wait_until(
        lambda: served.get_batch_inference_job("pw-batch"), lambda j: j.state.endswith(("COMPLETED", "FAILED"))
    )
    assert job.job_progress.successfully_processed_requests == 4
    files = served.download_dataset("pw-answers", tmp_path / "down")
    assert sum(len(file.read_text().splitlines()) for file in files) == 4


def test_a_batch_answers_as_the_bulk_does(served, tmp_path):
    lot = requests(5, max_tokens=2)
    lot.insert(2, ChatRequest("bad", TINY, [{"role": "user", "content": "x"}], {"temperature": 9}))
    for _ in range(2):  # a second call finds it all done
        results = served.chat_in_batch("pw-batch", lot, tmp_path, timeout_s=60)
        assert [r.request.key for r in results] == ["r0", "r1", "bad", "r2", "r3", "r4"]
        texts = [r.completion.choices[0].message.content for r in results if r.completion]
        assert texts == [f"row {i} /base" for i in range(5)]
        assert isinstance(results[2].error, errors.Refused)
    assert len(served.list_batch_inference_jobs()) == 1


def test_an_evaluator_goes_up_and_comes_down(client, tmp_path):
    folder = tmp_path / "my-eval"
    (folder / "sub").mkdir(parents=True)
    (folder / "test_it.py").write_text("def score(row):\n    return row\n")
    (folder / "sub" / "more.py").write_text("X = 1\n")
    (folder / "requirements.txt").write_text("")
    (folder / ".env").write_text("SECRET=1\n")
    spec = Evaluator(display_name="Mine", entry_point="test_it.py::score")
    first = client.ensure_evaluator("pw-eval", spec, folder, timeout_s=60)
    assert first.state == client.ensure_evaluator("pw-eval", spec, folder, timeout_s=60).state == "ACTIVE"
    source = client.download_evaluator_source("pw-eval", tmp_path / "down")
    assert source.name == "my-eval"
    assert {p.relative_to(source).as_posix() for p in source.rglob("*.*")} == {
        "test_it.py",
        "sub/more.py",
        "requirements.txt",
    }
    assert client.evaluator_build_log("pw-eval")
    assert [e.display_name for e in client.list_evaluators()] == ["Mine"]


def test_what_was_used_is_billed_and_limits_are_told(served):
    ask_all(served, requests(5, max_tokens=4))
    now = datetime.now(UTC)
    day = (now - timedelta(hours=12), now + timedelta(hours=12))
    usage = served.billing_usage(*day)
    assert int(usage["serverlessCosts"][0]["promptTokens"]) >= 50
    rows = served.usage_costs(*day, group_by=("MODEL",))
    assert [money_usd(row["subtotal"]) for row in rows if row["dimensions"]["model"] == TINY] == [0]
    assert served.billing_summary(*day, daily=True)["lineItems"]
    assert {q["name"].rsplit("/", 1)[-1] for q in served.list_quotas()} >= {"training-jobs-at-once"}
    assert served.serverless_rate_limits() == []


def test_a_wrong_key_says_what_to_do_and_keeps_the_key(start_local_server):
    server = start_local_server(key="right")
    client = FireworksClient(server.url, "fw_wrong", "local")
    with client, pytest.raises(errors.BadKey, match="Check the API key") as caught:
        client.list_datasets()
    assert "fw_wrong" not in str(caught.value)


def test_a_large_transfer_takes_constant_memory(client, tmp_path):
    path = tmp_path / "rows.jsonl"
    line = json.dumps({"messages": [{"role": "user", "content": "x" * 4000}]}) + "\n"
    with path.open("w") as file:
        for _ in range(9000):
            file.write(line)
    client.small_upload_bytes, client.shard_bytes = 1 << 20, 8 << 20
    client.create_dataset("pw-data", example_count=9000)
    tracemalloc.start()
    client.upload_dataset("pw-data", path)
    client.wait_for_dataset("pw-data")
    client.download_dataset("pw-data", tmp_path / "down")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 32 << 20
    assert peak < 16 << 20  # server and client together


def test_unknown_paths_are_answered_in_shape(local_server):
    answer = httpx.get(f"{local_server.url}/v1/accounts/local/nonsense/x")
    assert (answer.status_code, answer.json()["code"]) == (404, 5)
