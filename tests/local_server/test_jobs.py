"""The queue and the children, with a scripted trainer that does what its dataset's first prompt says."""

import hashlib
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from local_server.config import jobs_carried
from local_server.jobs import share_done, training_seed

TINY = "accounts/fireworks/models/tiny"
BETA = {"method": "DPO", "dpo": {"beta": 0.2}}


def metrics(api, job):
    url = api("GET", f"dpoJobs/{job}:getMetricsFileEndpoint")["signedUrl"]
    return [json.loads(line) for line in api.http.get(url).text.splitlines()]


def running(api, job):
    return api.until(f"dpoJobs/{job}", lambda body: body["state"] == "JOB_STATE_RUNNING")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_job_goes_from_pending_to_a_model(api, rows_for):
    made = api.job(
        "j", api.dataset("d", rows_for()), lossConfig=BETA, trainingConfig={"outputModel": "m", "loraRank": 4}
    )
    assert made["state"] == "JOB_STATE_CREATING"
    done = api.ended("j")
    assert (done["state"], done["status"]["code"]) == ("JOB_STATE_COMPLETED", "OK")
    assert done["completedTime"] > done["createTime"]
    model = api("GET", "models/m")
    assert (model["kind"], model["state"], model["fineTuningJob"]) == ("HF_PEFT_ADDON", "READY", done["name"])
    assert model["peftDetails"] == {"baseModel": "accounts/fireworks/models/tiny", "r": 4, "targetModules": []}
    files = api("GET", "models/m:getDownloadEndpoint")["filenameToSignedUrls"]
    assert set(files) == {"tokenizer.json", "adapter_config.json", "adapter_model.safetensors"}
    assert api.http.get(files["adapter_config.json"]).text == "{}"


def test_many_clients_get_a_models_files_at_once(api):
    with ThreadPoolExecutor(16) as threads:
        urls = list(
            threads.map(lambda _: api("GET", f"/v1/{TINY}:getDownloadEndpoint")["filenameToSignedUrls"], range(32))
        )
    assert {frozenset(files) for files in urls} == {frozenset({"tokenizer.json"})}
    assert api.http.get(urls[-1]["tokenizer.json"]).is_success


def test_the_seed_comes_from_the_jobs_id_and_is_recorded(api, rows_for):
    seed = int.from_bytes(hashlib.sha256(b"j").digest()[:4], "big") & 0x7FFFFFFF
    assert training_seed("j") == seed != training_seed("k")
    assert api.job("j", api.dataset("d", rows_for()))["trainingSeed"] == seed
    api.ended("j")
    assert {line["seed"] for line in metrics(api, "j")} == {seed}


def test_the_metrics_url_is_empty_until_there_is_a_line(api, rows_for):
    api.job("j", api.dataset("d", rows_for("!hang")))
    running(api, "j")
    assert api("GET", "dpoJobs/j:getMetricsFileEndpoint") == {"signedUrl": ""}


def test_jobs_wait_their_turn_and_go_through_one_warm_child(api, rows_for):
    dataset = api.dataset("d", rows_for("!steps=3 pause=0.1"))
    for name in ("a", "b", "c"):
        api.job(name, dataset)
    running(api, "a")
    assert [api("GET", f"dpoJobs/{name}")["state"] for name in ("b", "c")] == ["JOB_STATE_PENDING"] * 2
    assert {api.ended(name)["state"] for name in ("a", "b", "c")} == {"JOB_STATE_COMPLETED"}
    assert len({line["pid"] for name in ("a", "b", "c") for line in metrics(api, name)}) == 1


def test_another_dataset_gets_another_child(api, rows_for):
    for name in ("a", "b"):
        api.job(name, api.dataset(f"d{name}", rows_for()))
        api.ended(name)
    assert metrics(api, "a")[0]["pid"] != metrics(api, "b")[0]["pid"]


def test_two_jobs_run_at_once_where_that_is_allowed(start_local_server, connect, rows_for):
    api = connect(start_local_server(jobs_at_once=2).url)
    dataset = api.dataset("d", rows_for("!hang"))
    for name in ("a", "b", "c"):
        api.job(name, dataset)
    running(api, "a"), running(api, "b")
    assert api("GET", "dpoJobs/c")["state"] == "JOB_STATE_PENDING"
    assert api("GET", "quotas")["quotas"][2]["usage"] == 2.0


@pytest.mark.parametrize(
    ("orders", "said"),
    [
        ("fail=beta_is_odd", "beta_is_odd"),
        ("exit=3", "exit code 3. Its last words: ran into a wall"),
        (f"kill={signal.SIGKILL.value}", "most likely because memory ran out"),
        (f"kill={signal.SIGSEGV.value}", "died of SIGSEGV"),
    ],
)
def test_a_crash_fails_its_job_alone_and_says_why(api, rows_for, orders, said):
    api.job("bad", api.dataset("d1", rows_for(f"!{orders}")))
    api.job("good", api.dataset("d2", rows_for("!noise")))
    bad = api.ended("bad")
    assert (bad["state"], said in bad["status"]["message"]) == ("JOB_STATE_FAILED", True), bad["status"]
    assert api.ended("good")["state"] == "JOB_STATE_COMPLETED"
    api.fails(404, "GET", "models/bad")


def test_a_child_that_leaves_after_a_failure_does_not_take_the_next_job_along(api, rows_for):
    dataset = api.dataset("d", rows_for("!fail=no_memory leave"))
    for name in ("a", "b", "c"):
        api.job(name, dataset)
    assert {api.ended(name)["status"]["message"] for name in ("a", "b", "c")} == {"no_memory"}


def test_a_job_that_takes_too_much_memory_is_ended_and_told_so(start_local_server, connect, rows_for):
    api = connect(start_local_server(job_memory_bytes=100_000_000).url)
    api.job("j", api.dataset("d", rows_for("!hog=200 hang")))
    ended = api.ended("j")
    assert "and may hold 0.1 GB; lower the batch size" in ended["status"]["message"]


def test_a_running_job_is_cancelled_and_its_child_is_gone(api, local_server, rows_for):
    dataset = api.dataset("d", rows_for("!steps=1 pause=0.01"))
    hanging = api.dataset("e", rows_for("!hang"))
    api.job("a", hanging), api.job("b", dataset)
    running(api, "a")
    (mark,) = (local_server.home / "children").iterdir()
    assert api("POST", "dpoJobs/a:cancel", json={}) == {}
    assert api("GET", "dpoJobs/a")["state"] in ("JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED")
    api.until("dpoJobs/a", lambda body: body["state"] == "JOB_STATE_CANCELLED")  # a hanging job: 600 s by itself
    assert not is_alive(int(mark.name))
    assert api.ended("b")["state"] == "JOB_STATE_COMPLETED"
    assert "cannot be cancelled" in api.fails(400, "POST", "dpoJobs/a:cancel", json={})


def test_cancelling_twice_and_then_deleting_is_one_ending(api, rows_for):
    api.job("j", api.dataset("d", rows_for("!hang")))
    running(api, "j")
    for _ in range(3):
        assert api.http.post("/v1/accounts/local/dpoJobs/j:cancel", json={}).status_code in (200, 400)
    api("DELETE", "dpoJobs/j")
    api.fails(404, "GET", "dpoJobs/j")
    api.job("k", api.dataset("e", rows_for()))
    assert api.ended("k")["state"] == "JOB_STATE_COMPLETED"


def test_a_waiting_job_is_cancelled_at_once(api, rows_for):
    dataset = api.dataset("d", rows_for("!hang"))
    api.job("a", dataset), api.job("b", dataset)
    running(api, "a")
    api("POST", "dpoJobs/b:cancel", json={})
    assert api("GET", "dpoJobs/b")["state"] == "JOB_STATE_CANCELLED"


def test_a_cancelled_job_is_resumed_from_its_checkpoint(api, rows_for):
    api.job("j", api.dataset("d", rows_for("!steps=8 pause=0.15")))
    api.until("dpoJobs/j:getMetricsFileEndpoint", lambda body: body["signedUrl"] and len(metrics(api, "j")) >= 2)
    api("POST", "dpoJobs/j:cancel", json={})
    assert api.ended("j")["state"] == "JOB_STATE_CANCELLED"
    assert api("POST", "dpoJobs/j:resume", json={})["state"] == "JOB_STATE_PENDING"
    assert api.ended("j")["state"] == "JOB_STATE_COMPLETED"
    lines = metrics(api, "j")
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert len({line["pid"] for line in lines}) == 2
    assert "cannot be resumed" in api.fails(400, "POST", "dpoJobs/j:resume", json={})


def test_deleting_a_running_job_ends_it(api, local_server, rows_for):
    api.job("j", api.dataset("d", rows_for("!hang")))
    running(api, "j")
    (mark,) = (local_server.home / "children").iterdir()
    api("DELETE", "dpoJobs/j")
    api.fails(404, "GET", "dpoJobs/j")
    assert not is_alive(int(mark.name))
    assert not (local_server.home / "jobs/j").exists()


def test_bad_rows_fail_the_job_with_their_line(api, rows_for):
    rows = rows_for()
    rows[1] = {**rows[1], "preferred_output": []}
    api.job("j", api.dataset("d", rows))
    ended = api.ended("j")
    assert (ended["state"], ended["status"]["code"]) == ("JOB_STATE_FAILED", "INVALID_ARGUMENT")
    assert "datasets/d: line 2: preferred_output must be" in ended["status"]["message"]


def test_two_rows_are_too_few(api, rows_for):
    api.job("j", api.dataset("d", rows_for(n=2)))
    assert "at least 3 are required" in api.ended("j")["status"]["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"lossConfig": {}}, "means GRPO"),
        ({"lossConfig": {"dpo": {"beta": 0.1}}}, "means GRPO"),
        ({"lossConfig": {"method": "METHOD_UNSPECIFIED"}}, "means GRPO"),
        ({"lossConfig": {"method": "GRPO"}}, "GRPO is not supported by a dpoJob"),
        ({"lossConfig": {"method": "DPO", "dpo": {"beta": 0.5}}}, "above 0 and below 0.5, found 0.5"),
        ({"lossConfig": {"method": "DPO", "dpo": {"beta": 0}}}, "above 0 and below 0.5, found 0"),
        ({"lossConfig": {"method": "ORPO", "orpo": {"lambda": -1}}}, "orpo.lambda must be above 0"),
        ({"trainingConfig": {"maxContextLength": 100}}, "a positive multiple of 16, found 100"),
        ({"trainingConfig": {"maxContextLength": 1024}}, "at most the model's 512, found 1024"),
        ({"trainingConfig": {"batchSize": 4}}, "batchSize is not supported"),
        ({"trainingConfig": {"gradientAccumulationSteps": 2}}, "gradientAccumulationSteps is not supported"),
        ({"trainingConfig": {"jinjaTemplate": "x"}}, "jinjaTemplate is not supported"),
        ({"trainingConfig": {"loraRank": 12}}, "a power of two up to 32, found 12"),
        ({"trainingConfig": {"epochs": 1.5}}, "epochs"),
        ({"trainingConfig": {"learningRate": -1}}, "learningRate"),
        ({"trainingConfig": {"lrScheduler": {"constant": {}, "linear": {}}}}, "exactly one of"),
        ({"trainingConfig": {"warmStartFrom": "accounts/local/models/m"}}, "not both"),
        ({"trainingConfig": {"baseModel": ""}}, "baseModel is required"),
        ({"trainingConfig": {"baseModel": "gpt-5"}}, "model is not supported for fine-tuning: gpt-5; this server has"),
        ({"trainingConfig": {"outputModel": "accounts/fireworks/models/m"}}, "outputModel must be in"),
        ({"trainingConfig": {"outputModel": "M!"}}, "trainingConfig.outputModel 'M!' is not valid"),
        ({"dataset": "accounts/local/datasets/nope"}, "datasets/nope not found"),
        ({"dataset": None}, "dataset"),
    ],
)
def test_a_create_is_checked(api, rows_for, body, said):
    stated = {"dataset": api.dataset("d", rows_for()), **body}
    stated["trainingConfig"] = {"baseModel": "accounts/fireworks/models/tiny", **body.get("trainingConfig", {})}
    assert said in api.fails(400, "POST", "dpoJobs", json=stated)
    assert api("GET", "dpoJobs")["dpoJobs"] == []


def test_legacy_fields_of_zero_are_let_through(api, rows_for):
    config = {"batchSize": 0, "gradientAccumulationSteps": 0, "jinjaTemplate": "", "epochs": 0, "loraRank": 0}
    api.job("j", api.dataset("d", rows_for()), trainingConfig=config)
    assert api.ended("j")["state"] == "JOB_STATE_COMPLETED"


def test_a_repeated_create_is_a_conflict(api, rows_for):
    dataset = api.dataset("d", rows_for())
    api.job("j", dataset)
    for _ in range(2):  # while it runs and after it has made its model
        body = {"dataset": dataset, "trainingConfig": {"baseModel": "tiny"}}
        assert "dpoJobs/j already exists" in api.fails(409, "POST", "dpoJobs", params={"dpoJobId": "j"}, json=body)
        api.ended("j")
    other = {**body, "trainingConfig": {"baseModel": "tiny", "outputModel": "j"}}
    assert "models/j already exists" in api.fails(409, "POST", "dpoJobs", params={"dpoJobId": "k"}, json=other)


def test_a_job_without_an_id_gets_one(api, rows_for):
    body = {"dataset": api.dataset("d", rows_for()), "trainingConfig": {"baseModel": "tiny"}}
    made = api("POST", "dpoJobs", json=body)
    id = made["name"].rsplit("/", 1)[-1]
    api.ended(id)
    assert api("GET", f"models/{id}")["fineTuningJob"] == made["name"]


def test_an_unfinished_dataset_cannot_be_trained_on(api):
    api("POST", "datasets", json={"datasetId": "d", "dataset": {"exampleCount": 3}})
    body = {"dataset": "accounts/local/datasets/d", "trainingConfig": {"baseModel": "tiny"}}
    assert "UPLOADING; wait until it is READY" in api.fails(400, "POST", "dpoJobs", json=body)


def test_unknown_fields_come_back_and_the_wandb_key_does_not(api, rows_for):
    wandb = {"enabled": False, "apiKey": "secret", "project": "p"}
    made = api.job("j", api.dataset("d", rows_for()), wandbConfig=wandb, purpose="PURPOSE_PILOT")
    assert (made["purpose"], made["wandbConfig"]) == ("PURPOSE_PILOT", {"enabled": False, "project": "p"})


def test_the_share_done_of_a_job_is_what_its_last_line_says(tmp_path):
    file = tmp_path / "metrics.jsonl"
    assert share_done(file) == 0.0
    file.write_text('{"step": 1, "total_steps": 4}\n{"step": 3, "total_steps": 4}\n')
    assert share_done(file) == 0.75
    file.write_text('{"step": 3}\n')
    assert share_done(file) == 0.0


@pytest.mark.parametrize(("cores", "gb", "jobs"), [(2, 24, 1), (8, 16, 1), (16, 16, 1), (16, 64, 2), (64, 48, 3)])
def test_without_a_gpu_cores_and_memory_say_how_many_train_at_once(cores, gb, jobs):
    assert jobs_carried(cores, gb << 30) == jobs
