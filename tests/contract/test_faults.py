"""Whatever the network does to a request, what was asked for exists once, and nothing was asked for twice in vain.

The server has acted and its answer is lost, the connection breaks before it acts, the answer breaks off, the
service is overloaded: each at each step, with the real server behind.
"""

import asyncio
import contextlib
import itertools
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks import errors
from blocks.bulk import ChatRequest
from blocks.client import FireworksClient
from blocks.journal import Answer, Journal, answer_key
from local_server.faults import Fault, Faults
from preference.wire import Deployment, DpoJob, DpoLoss, Evaluator, LossConfig, TrainingConfig

TINY = "accounts/fireworks/models/tiny"
GPU = "NVIDIA_H100_80GB"
HASTY = {"waits": lambda: itertools.repeat(0.01), "sleep": lambda s: time.sleep(min(s, 0.05))}
PASSING = {
    "the answer is lost": Fault.cut_after(),
    "nothing was done": Fault.cut_before(),
    "the answer breaks off": Fault.truncated(10),
    "overloaded": Fault.overloaded(),
    "rate limited": Fault.rate_limited(0),
}


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def faulty(start_local_server, faults):
    """A client of a server with faults, which does not wait long."""
    server = start_local_server(middleware=[faults.middleware()])
    with FireworksClient(server.url, account="local", **HASTY) as client:
        yield client


def job_spec(beta=0.1):
    return DpoJob(
        dataset="pw-data",
        training_config=TrainingConfig(base_model=TINY, output_model="pw-out"),
        loss_config=LossConfig(method="DPO", dpo=DpoLoss(beta=beta)),
    )


@pytest.fixture(params=PASSING, ids=str)
def fault(request):
    return PASSING[request.param]


def test_a_dataset_is_created_once(faulty, faults, fault, pairs_file):
    faults.add(fault, method="POST", path="/datasets")
    assert faulty.ensure_dataset("pw-data", pairs_file(3), example_count=3).state == "READY"
    assert len(faulty.list_datasets()) == len(faults.met) == 1


def test_a_small_upload_arrives(faulty, faults, fault, pairs_file, tmp_path):
    faults.add(fault, method="POST", path=":upload")
    path = pairs_file(3)
    assert faulty.ensure_dataset("pw-data", path, example_count=3).state == "READY"
    [copy] = faulty.download_dataset("pw-data", tmp_path / "down")
    assert copy.read_bytes() == path.read_bytes()
    assert len(faults.met) == 1


@pytest.mark.parametrize("step", [":getUploadEndpoint", "/signed", ":validateUpload"])
def test_a_large_upload_arrives(faulty, faults, fault, step, pairs_file, tmp_path):
    faulty.small_upload_bytes, faulty.shard_bytes = 100, 500
    faults.add(fault, path=step)
    path = pairs_file(20)
    assert faulty.ensure_dataset("pw-data", path, example_count=20).state == "READY"
    parts = faulty.download_dataset("pw-data", tmp_path / "down")
    assert b"".join(part.read_bytes() for part in parts) == path.read_bytes()
    assert len(faults.met) == 1


def test_a_download_goes_on_where_it_broke_off(faulty, faults, pairs_file, tmp_path):
    path = pairs_file(30)
    faulty.ensure_dataset("pw-data", path, example_count=30)
    for size in (1000, 500, 0):
        faults.add(Fault.truncated(size), method="GET", path="/signed")
    [copy] = faulty.download_dataset("pw-data", tmp_path / "down")
    assert copy.read_bytes() == path.read_bytes()
    assert len(faults.met) == 3
    assert [p.name for p in (tmp_path / "down").iterdir()] == ["pairs.jsonl"]  # no part is left


def test_a_job_is_started_once(faulty, faults, fault, pairs_file):
    faulty.ensure_dataset("pw-data", pairs_file(3), example_count=3)
    faults.add(fault, method="POST", path="/dpoJobs")
    assert faulty.ensure_dpo_job("pw-job", job_spec()).name == "accounts/local/dpoJobs/pw-job"
    assert len(faulty.list_dpo_jobs()) == len(faults.met) == 1


def test_a_job_is_adopted_though_the_look_for_it_fails_too(faulty, faults, pairs_file):
    faulty.ensure_dataset("pw-data", pairs_file(3), example_count=3)
    faults.add(Fault.cut_after(), method="POST", path="/dpoJobs")
    for fault in (Fault.cut_before(), Fault.overloaded(), Fault.truncated(5)):
        faults.add(fault, method="GET", path="/dpoJobs/pw-job")
    faulty.ensure_dpo_job("pw-job", job_spec())
    assert len(faults.met) == 4
    assert len(faulty.list_dpo_jobs()) == 1


def test_a_lost_answer_does_not_hide_that_the_id_was_taken_by_another(faulty, faults, pairs_file):
    faulty.ensure_dataset("pw-data", pairs_file(3), example_count=3)
    faulty.ensure_dpo_job("pw-job", job_spec(beta=0.2))
    faults.add(Fault.cut_before(), method="POST", path="/dpoJobs")
    with pytest.raises(errors.Conflict, match=r"beta is 0\.2, asked for was 0\.1"):
        faulty.ensure_dpo_job("pw-job", job_spec(beta=0.1))


def test_a_create_that_times_out_and_is_carried_out_later_is_adopted(start_local_server, faults, pairs_file):
    """The client gives up waiting, looks, sees nothing, asks again: the first request arrives in between."""
    server = start_local_server(middleware=[faults.middleware()])
    with FireworksClient(server.url, account="local", sleep=lambda s: time.sleep(s / 5)) as client:
        client.ensure_dataset("pw-data", pairs_file(3), example_count=3)
        client._connection._http.timeout = httpx.Timeout(1)
        faults.add(Fault.slow(1.05), method="POST", path="/dpoJobs")
        client.ensure_dpo_job("pw-job", job_spec())
        assert len(client.list_dpo_jobs()) == 1


def test_a_deployment_and_its_adapter_are_made_once(faulty, faults, fault, pairs_file, wait_until):
    faulty.ensure_dataset("pw-data", pairs_file(3), example_count=3)
    faulty.ensure_dpo_job("pw-job", job_spec())
    wait_until(lambda: faulty.get_dpo_job("pw-job").state, lambda s: s == "JOB_STATE_COMPLETED")
    faults.add(fault, method="POST", path="/deployments")
    faults.add(fault, method="POST", path="/deployedModels")
    spec = Deployment(base_model=TINY, accelerator_type=GPU, enable_addons=True)
    on = faulty.ensure_deployment("pw-base", spec).name
    faulty.ensure_deployed_model("pw-load", "accounts/local/models/pw-out", on)
    assert len(faults.met) == 2
    assert len(faulty.list_deployments()) == len(faulty.list_deployed_models()) == 1
    faults.add(fault, method="DELETE")
    faulty.delete_deployment("pw-base")
    assert faulty.list_deployments() == []


def test_an_evaluator_is_made_once(faulty, faults, fault, tmp_path):
    folder = tmp_path / "my-eval"
    folder.mkdir()
    (folder / "test_it.py").write_text("def score(row):\n    return row\n")
    (folder / "requirements.txt").write_text("")
    faults.add(fault, method="POST", path="/evaluatorsV2")
    faults.add(fault, method="POST", path=":validateUpload")
    spec = Evaluator(entry_point="test_it.py::score")
    assert faulty.ensure_evaluator("pw-eval", spec, folder, timeout_s=60).state == "ACTIVE"
    assert len(faulty.list_evaluators()) == 1


def test_metrics_survive_a_broken_read(faulty, faults, fault, pairs_file, wait_until):
    faulty.ensure_dataset("pw-data", pairs_file(3), example_count=3)
    faulty.ensure_dpo_job("pw-job", job_spec())
    wait_until(lambda: faulty.get_dpo_job("pw-job").state, lambda s: s == "JOB_STATE_COMPLETED")
    faults.add(fault, method="GET", path=":getMetricsFileEndpoint")
    faults.add(fault, method="GET", path="/signed")
    assert [m["step"] for m in faulty.dpo_job_metrics("pw-job")] == [1, 2]
    assert len(faults.met) == 2


def bulk(client, n, concurrency=8):
    requests = [ChatRequest(f"r{i}", TINY, [{"role": "user", "content": f"row {i}"}]) for i in range(n)]

    async def run():
        return [r async for r in client.chat_many(requests, concurrency=concurrency, patience_s=60)]

    return asyncio.run(run())


def test_bulk_answers_come_through_faults(faulty, faults):
    faulty.ensure_deployment("pw-base", Deployment(base_model=TINY, accelerator_type=GPU))
    faulty.wait_until_serving(TINY, "pw-base", timeout_s=60)
    for fault in PASSING.values():
        faults.add(fault, method="POST", path="/chat/completions", times=2)
    results = bulk(faulty, 30)
    assert {r.request.key: r.completion.choices[0].message.content for r in results} == {
        f"r{i}": f"row {i} /base" for i in range(30)
    }
    assert sum(r.tries - 1 for r in results) == len(faults.met) == 10


def intents(client, pairs):
    """What a session wants to exist, each by a call that may be repeated."""
    spec = Deployment(base_model=TINY, accelerator_type=GPU, enable_addons=True)
    return [
        lambda: client.ensure_dataset("pw-data", pairs, example_count=3),
        lambda: client.ensure_dpo_job("pw-job", job_spec()),
        lambda: client.ensure_deployment("pw-base", spec),
    ]


# each example starts a server, or asks thirty questions: a few of them
FEW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(script=st.lists(st.sampled_from([Fault(), *PASSING.values()]), max_size=12))
def test_exactly_one_of_each_exists_whatever_the_faults(script, start_local_server, tmp_path_factory, pairs_file):
    faults = Faults()
    server = start_local_server(tmp_path_factory.mktemp("server"), middleware=[faults.middleware()])
    with FireworksClient(server.url, account="local", **HASTY) as client:
        for fault in script:
            faults.add(fault)  # in turn, each for the next request of whatever kind
        for intent in intents(client, pairs_file(3)):
            for _ in range(4):  # a run that fails is started again
                with contextlib.suppress(errors.NotReached, errors.Unavailable, errors.BadAnswer):
                    intent()
                    break
        faults.clear()
        for intent in intents(client, pairs_file(3)):
            intent()
        assert [d.name for d in client.list_datasets()] == ["accounts/local/datasets/pw-data"]
        assert client.get_dataset("pw-data").state == "READY"
        assert [j.name for j in client.list_dpo_jobs()] == ["accounts/local/dpoJobs/pw-job"]
        assert [d.name for d in client.list_deployments()] == ["accounts/local/deployments/pw-base"]
    server.stop()


LOST = {PASSING["the answer is lost"], PASSING["the answer breaks off"]}


@FEW
@given(
    script=st.lists(st.sampled_from(list(PASSING.values())), max_size=10),
    stop_after=st.integers(0, 30),
    concurrency=st.sampled_from([1, 3, 8]),
)
def test_no_answer_that_reached_us_is_bought_again(
    script, stop_after, concurrency, start_local_server, tmp_path_factory
):
    """Billed are the answers we have, those that a fault lost, and those in flight when we were stopped."""
    faults = Faults()
    folder = tmp_path_factory.mktemp("server")
    server = start_local_server(folder, middleware=[faults.middleware()])
    journal = Journal(folder / "journal.db")
    with FireworksClient(server.url, account="local", **HASTY) as client:
        client.ensure_deployment("pw-base", Deployment(base_model=TINY, accelerator_type=GPU))
        client.wait_until_serving(TINY, "pw-base", timeout_s=60)
        before = n_billed(client)
        for fault in script:
            faults.add(fault, path="/chat/completions")
        asyncio.run(fill(journal, client, concurrency, stop_after))
        asyncio.run(fill(journal, client, concurrency, None))  # the session goes on
        n_lost = sum(fault in LOST for _, _, fault in faults.met)
        assert journal.usage()[TINY][0] == 30
        assert 30 <= n_billed(client) - before <= 30 + n_lost + concurrency
    journal.close()
    server.stop()


async def fill(journal, client, concurrency, stop_after):
    """Ask for what the journal lacks; a crash after so many answers."""

    def missing():
        for i in range(30):
            messages = [{"role": "user", "content": f"row {i}"}]
            key = answer_key(TINY, messages, {"max_tokens": 1})
            if journal.find(key) is None:
                yield ChatRequest(key, TINY, messages, {"max_tokens": 1})

    n = 0
    async with contextlib.aclosing(client.chat_many(missing(), concurrency=concurrency)) as results:
        async for result in results:
            if n == stop_after:
                return
            call, asked = journal.begin(result.request.key), result.request
            text = result.completion.choices[0].message.content
            answer = Answer(text=text, finish_reason="stop", prompt_tokens=10, completion_tokens=1)
            journal.finish(call, asked.key, asked.model, list(asked.messages), dict(asked.params), answer)
            n += 1


def n_billed(client):
    """Completions of one token each, by the server's own bill."""
    now = datetime.now(UTC)
    usage = client.billing_usage(now - timedelta(hours=24), now + timedelta(hours=24))
    return sum(int(row["completionTokens"]) for row in usage["serverlessCosts"])
