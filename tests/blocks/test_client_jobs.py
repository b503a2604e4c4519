"""Jobs: what is sent, what is refused before it is sent, and doing it once."""

import json

import httpx
import pytest

from blocks import errors
from blocks.adopt import differences
from blocks.client_jobs import ProgressWatch, check_dpo_job, read_metrics
from preference.wire import DpoJob, DpoLoss, LossConfig, OrpoLoss, TrainingConfig

JOBS = "/v1/accounts/acme/dpoJobs"
JOB = f"{JOBS}/pw-j"
BASE = "accounts/fireworks/models/qwen3-8b"


def spec(loss=None, **config):
    return DpoJob(
        dataset="prefs",
        training_config=TrainingConfig(**{"base_model": BASE, "output_model": "pw-m", **config}),
        loss_config=loss,
    )


def found(**changed):
    """What the platform shows of spec(): with its own fields, defaults, and zeros left out."""
    body = {
        "name": "accounts/acme/dpoJobs/pw-j",
        "dataset": "accounts/acme/datasets/prefs",
        "state": "JOB_STATE_RUNNING",
        "trainingConfig": {"baseModel": BASE, "outputModel": "accounts/acme/models/pw-m", "loraRank": 8, "epochs": 1},
        "createTime": "2026-11-22T10:00:00Z",
    }
    return {**body, **changed}


def test_the_id_goes_into_the_query_and_the_rest_where_it_belongs(scripted):
    client, script = scripted({f"POST {JOBS}": found()})
    loss = LossConfig(method="DPO", dpo=DpoLoss(beta=0.2))
    client.create_dpo_job("pw-j", spec(loss, learning_rate=1e-5, lora_rank=16))
    [request] = script.requests
    assert dict(request.url.params) == {"dpoJobId": "pw-j"}
    assert json.loads(request.content) == {
        "dataset": "accounts/acme/datasets/prefs",
        "trainingConfig": {"baseModel": BASE, "outputModel": "pw-m", "learningRate": 1e-5, "loraRank": 16},
        "lossConfig": {"method": "DPO", "dpo": {"beta": 0.2}},
    }


def test_a_job_without_a_loss_is_sent_as_dpo_by_name(scripted):
    client, script = scripted({f"POST {JOBS}": found()})
    client.create_dpo_job("pw-j", spec())
    assert json.loads(script.requests[0].content)["lossConfig"] == {"method": "DPO"}  # unset would mean GRPO


def test_orpos_lambda_is_called_lambda_on_the_wire(scripted):
    client, script = scripted({f"POST {JOBS}": found()})
    client.create_dpo_job("pw-j", spec(LossConfig(method="ORPO", orpo=OrpoLoss(orpo_lambda=0.2))))
    assert json.loads(script.requests[0].content)["lossConfig"] == {"method": "ORPO", "orpo": {"lambda": 0.2}}


@pytest.mark.parametrize(
    ("job", "fault"),
    [
        (spec(LossConfig(method="DPO", dpo=DpoLoss(beta=0.5))), r"beta is 0\.5; it must be above 0 and below 0\.5"),
        (spec(LossConfig(method="DPO", dpo=DpoLoss(beta=0))), r"beta is 0\.0"),
        (spec(LossConfig(method="")), r"lossConfig\.method is ''.*unset means GRPO"),
        (spec(LossConfig(method="GRPO")), "preference jobs are DPO or ORPO"),
        (spec(LossConfig(method="ORPO", dpo=DpoLoss(beta=0.1))), "settings of another method than ORPO"),
        (spec(LossConfig(method="ORPO", orpo=OrpoLoss(orpo_lambda=0))), r"orpo_lambda is 0\.0"),
        (spec(max_context_length=100), "must be a multiple of 16 tokens"),
        (spec(max_context_length=0), "must be a multiple of 16 tokens"),
        (spec(lora_rank=12), "lora_rank is 12; it must be a power of two up to 32"),
        (spec(lora_rank=64), "lora_rank is 64"),
        (spec(batch_size_samples=0), "batch_size_samples is 0"),
        (spec(epochs=0), "epochs is 0"),
        (spec(learning_rate=0), r"learning_rate is 0\.0"),
        (spec(base_model=None), "either base_model or warm_start_from"),
        (spec(warm_start_from="accounts/acme/models/w"), "either base_model or warm_start_from"),
        (spec(batchSize=8), "batchSize is rejected by the trainer"),
        (spec(gradientAccumulationSteps=2), "gradientAccumulationSteps is rejected"),
        (spec(jinjaTemplate="x"), "jinjaTemplate is rejected"),
    ],
)
def test_what_would_fail_is_not_sent(scripted, job, fault):
    client, script = scripted({})
    with pytest.raises(errors.Refused, match=f"was not sent, since it would fail: .*{fault}"):
        client.ensure_dpo_job("pw-j", job)
    assert script.requests == []


def test_all_faults_are_told_at_once():
    with pytest.raises(errors.Refused, match=r"lora_rank is 3.*epochs is 0"):
        check_dpo_job(spec(lora_rank=3, epochs=0))


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.Response(409, json={"code": 6, "message": "exists"}),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
        httpx.Response(503),
        httpx.Response(500),
        httpx.Response(200, text="<html>proxy</html>"),
    ],
)
def test_after_an_unclear_create_the_job_is_looked_for_and_adopted(scripted, trouble):
    client, script = scripted({f"POST {JOBS}": trouble, f"GET {JOB}": found()})
    assert client.ensure_dpo_job("pw-j", spec()).state == "JOB_STATE_RUNNING"
    assert script.sent() == [f"POST {JOBS}", f"GET {JOB}"]


def test_what_was_not_created_is_created_again(scripted):
    client, script = scripted({f"POST {JOBS}": [httpx.ReadTimeout("slow"), found()]})
    client.ensure_dpo_job("pw-j", spec())
    assert script.sent() == [f"POST {JOBS}", f"GET {JOB}", f"POST {JOBS}"]
    assert len(script.slept) == 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"dataset": "accounts/acme/datasets/other"}, "dataset is 'accounts/acme/datasets/other'"),
        ({"trainingConfig": {"baseModel": "accounts/fireworks/models/x"}}, r"trainingConfig\.baseModel is"),
        ({"lossConfig": {"method": "ORPO"}}, r"lossConfig\.method is 'ORPO', asked for was 'DPO'"),
        ({"trainingConfig": {"baseModel": BASE, "epochs": 3}}, r"trainingConfig\.epochs is 3, asked for was 1"),
    ],
)
def test_another_job_under_the_id_is_refused_with_what_differs(scripted, changed, said):
    client, _ = scripted({f"POST {JOBS}": httpx.Response(409), f"GET {JOB}": found(**changed)})
    with pytest.raises(errors.Conflict, match=f"DPO job pw-j exists already and is something else: {said}"):
        client.ensure_dpo_job("pw-j", spec(epochs=1))


def test_a_job_shown_without_its_loss_is_dpo(scripted):
    client, _ = scripted({f"POST {JOBS}": httpx.Response(409), f"GET {JOB}": found()})
    with pytest.raises(errors.Conflict, match=r"lossConfig\.method is 'DPO', asked for was 'ORPO'"):
        client.ensure_dpo_job("pw-j", spec(LossConfig(method="ORPO")))


def test_a_conflict_over_something_else_is_told(scripted):
    taken = httpx.Response(409, json={"code": 6, "message": "accounts/acme/models/pw-m already exists"})
    client, script = scripted({f"POST {JOBS}": taken})
    with pytest.raises(errors.Conflict, match="models/pw-m already exists"):
        client.ensure_dpo_job("pw-j", spec())
    assert script.sent() == [f"POST {JOBS}", f"GET {JOB}"] * 3


def test_a_refused_create_is_not_repeated(scripted):
    client, script = scripted({f"POST {JOBS}": httpx.Response(400, json={"code": 3, "message": "no such model"})})
    with pytest.raises(errors.Refused, match="no such model"):
        client.ensure_dpo_job("pw-j", spec())
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ({"a": 1}, {}),
        ({"a": 0.1}, {"a": 0.10000000149011612}),  # a float of 32 bits
        ({"n": 8}, {"n": "8"}),
        ({"model": "pw-m"}, {"model": "accounts/acme/models/pw-m"}),
        ({"model": "accounts/acme/models/pw-m"}, {"model": "pw-m"}),
        ({"displayName": "a"}, {"displayName": "b"}),
        ({"list": ["q", "v"]}, {"list": ["v", "q"]}),
        ({"config": {"a": 1}}, {"config": {"a": 1, "more": 2}}),
    ],
)
def test_what_says_the_same_is_no_difference(asked, seen):
    assert list(differences(asked, seen)) == []


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 0.1}, {"a": 0.1001}),
        ({"model": "accounts/acme/models/m"}, {"model": "accounts/other/models/m"}),
        ({"config": {"a": 1}}, {"config": {"a": 2}}),
        ({"list": ["q"]}, {"list": ["q", "v"]}),
        ({"on": True}, {"on": False}),
    ],
)
def test_what_says_another_thing_is_a_difference(asked, seen):
    assert len(list(differences(asked, seen))) == 1


@pytest.mark.parametrize("verb", ["cancel", "resume"])
def test_verbs_carry_an_empty_object_and_may_be_repeated(scripted, verb):
    client, script = scripted({f"POST {JOB}:{verb}": [httpx.Response(503), {}], f"GET {JOB}": found()})
    getattr(client, f"{verb}_dpo_job")("pw-j")
    assert [r.content for r in script.requests[:2]] == [b"{}", b"{}"]


@pytest.mark.parametrize("method", ["cancel_dpo_job", "resume_dpo_job", "delete_dpo_job"])
@pytest.mark.parametrize("job", ["theirs", "accounts/other/dpoJobs/pw-1-aaaa-j", "pw-2-bbbb-j"])
def test_only_this_sessions_jobs_are_touched(scripted, method, job):
    client, script = scripted({}, session="1-aaaa")
    with pytest.raises(errors.NotOurs, match=f"{job} was not made here"):
        getattr(client, method)(job)
    assert script.requests == []


def test_unknown_states_and_fields_are_kept(scripted):
    client, _ = scripted({f"GET {JOB}": found(state="JOB_STATE_NEW_IN_2027", newField={"x": 1})})
    job = client.get_dpo_job("pw-j")
    assert job.state == "JOB_STATE_NEW_IN_2027"
    assert job.model_extra["newField"] == {"x": 1}
    assert job.create_time.isoformat() == "2026-11-22T10:00:00+00:00"


def test_there_are_no_metrics_until_there_is_a_file(scripted):
    client, _ = scripted({f"GET {JOB}:getMetricsFileEndpoint": {"signedUrl": ""}})
    assert client.dpo_job_metrics("pw-j") == []


def test_metrics_of_any_keys_are_read(scripted):
    text = '{"type":"metrics","step":1,"dpo_loss":0.69}\n\n{"step":2,"accuracy":1.0}\n'
    client, _ = scripted(
        {
            f"GET {JOB}:getMetricsFileEndpoint": {"signedUrl": "https://storage.example/metrics.jsonl?sig=1"},
            "GET /metrics.jsonl": [httpx.Response(503), httpx.Response(200, text=text)],
        }
    )
    assert client.dpo_job_metrics("pw-j") == [
        {"type": "metrics", "step": 1, "dpo_loss": 0.69},
        {"step": 2, "accuracy": 1.0},
    ]


def test_a_line_that_is_still_written_is_left_for_the_next_look():
    assert read_metrics('{"step": 1}\n{"step": 2, "los') == [{"step": 1}]


def test_a_broken_line_within_is_an_error():
    with pytest.raises(errors.BadAnswer, match="line 1 of a metrics file"):
        read_metrics('{"step": \n{"step": 2}\n')


def watched(*looks, stuck_after_s=600.0):
    """The suspicion after each look (time, state, number of metrics lines)."""
    now = [0.0]
    watch = ProgressWatch(clock=lambda: now[0], stuck_after_s=stuck_after_s)
    suspicions = []
    for time, state, n in looks:
        now[0] = float(time)
        suspicions.append(watch.saw(DpoJob(dataset="d", state=state), n))
    return suspicions


R = "JOB_STATE_RUNNING"


def test_running_without_new_lines_is_suspected_stuck():
    assert watched((0, R, 0), (600, R, 0), (601, R, 0)) == [None, None, 601]


def test_a_new_line_ends_the_suspicion():
    assert watched((0, R, 1), (700, R, 1), (701, R, 2), (1300, R, 2)) == [None, 700, None, None]


def test_a_job_that_waits_its_turn_is_not_stuck():
    assert watched((0, "JOB_STATE_PENDING", 0), (9000, "JOB_STATE_PENDING", 0)) == [None, None]


def test_a_job_that_has_ended_is_not_stuck():
    assert watched((0, R, 5), (700, "JOB_STATE_COMPLETED", 5), (9000, "JOB_STATE_COMPLETED", 5)) == [None] * 3
