"""The official SDK against the local server, sync and async: every resource that the workflow uses."""

import io
import json
import tarfile

import fireworks
import httpx
import pytest

TINY = "accounts/fireworks/models/tiny"
JSON_HEADERS = {"Content-Type": "application/octet-stream"}


def uploaded(sdk, path, dataset_id="prefs", n=3):
    sdk(lambda c: c.datasets.create(dataset_id=dataset_id, dataset={"format": "CHAT", "example_count": str(n)}))
    sdk(lambda c: c.datasets.upload(dataset_id, file=path))
    return f"accounts/local/datasets/{dataset_id}"


def trained(sdk, path, wait_until, job_id="pw-job", **settings):
    dataset = uploaded(sdk, path, f"data-{job_id}")
    config = {"base_model": TINY, "output_model": job_id, "epochs": 1}
    sdk(lambda c: c.dpo_jobs.create(dpo_job_id=job_id, dataset=dataset, training_config=config, **settings))
    return wait_until(lambda: sdk(lambda c: c.dpo_jobs.get(job_id)), lambda job: job.state in ENDED)


ENDED = ("JOB_STATE_COMPLETED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


def deployed(sdk, deployment_id, model, **settings):
    sdk(
        lambda c: c.deployments.create(
            deployment_id=deployment_id,
            base_model=model,
            accelerator_type="NVIDIA_H100_80GB",
            min_replica_count=0,
            **settings,
        )
    )
    return f"accounts/local/deployments/{deployment_id}"


def answered(sdk, model, wait_until, text="one two three"):
    """Waits through 503 and 404, as a user of the SDK must: its own three tries end too soon."""

    def ask():
        try:
            messages = [{"role": "user", "content": text}]
            return sdk(lambda c: c.chat.completions.create(model=model, messages=messages, max_tokens=8))
        except (fireworks.InternalServerError, fireworks.NotFoundError) as error:
            return error

    return wait_until(ask, lambda got: not isinstance(got, Exception))


def test_a_small_dataset_goes_up_and_comes_down(sdk, pairs_file):
    path = pairs_file(3)
    sdk(lambda c: c.datasets.create(dataset_id="prefs", dataset={"format": "CHAT", "example_count": "3"}))
    before = sdk(lambda c: c.datasets.get("prefs"))
    answer = sdk(lambda c: c.datasets.upload("prefs", file=path))
    after = sdk(lambda c: c.datasets.get("prefs"))
    assert (before.state, after.state) == ("UPLOADING", "READY")
    assert (answer.object, answer.filename, answer.bytes) == ("file", "pairs.jsonl", path.stat().st_size)
    assert after.example_count == "3"  # an int64 is a string on the wire
    assert after.name == "accounts/local/datasets/prefs"
    [url] = sdk(lambda c: c.datasets.get_download_endpoint("prefs")).filename_to_signed_urls.values()
    assert httpx.get(url).content == path.read_bytes()


def test_a_large_upload_wants_both_signed_headers(sdk, pairs_file, wait_until):
    data = pairs_file(3).read_bytes()
    sdk(lambda c: c.datasets.create(dataset_id="big", dataset={"example_count": "3"}))
    sizes = {"rows.jsonl": len(data)}
    urls = sdk(lambda c: c.datasets.get_upload_endpoint("big", filename_to_size=sizes)).filename_to_signed_urls
    url = urls["rows.jsonl"]
    refused = httpx.put(url, content=data, headers=JSON_HEADERS)
    assert (refused.status_code, "MalformedSecurityHeader" in refused.text) == (400, True)
    signed = {**JSON_HEADERS, "X-Goog-Content-Length-Range": f"{len(data)},{len(data)}"}
    assert httpx.put(url, content=data, headers=signed).status_code == 200
    assert sdk(lambda c: c.datasets.get("big")).state == "UPLOADING"
    sdk(lambda c: c.datasets.validate_upload("big", body={}))
    wait_until(lambda: sdk(lambda c: c.datasets.get("big")).state, lambda state: state == "READY")


def test_lists_page_themselves(sdk):
    for i in range(7):
        sdk(lambda c, i=i: c.datasets.create(dataset_id=f"d{i}", dataset={"example_count": "3"}))
    found = sdk.all(lambda c: c.datasets.list(page_size=3))
    assert [d.name.rsplit("/", 1)[-1] for d in found] == [f"d{i}" for i in range(7)]
    some = sdk.all(lambda c: c.datasets.list(page_size=2, filter='state="READY"'))
    assert some == []


def test_deleting_a_dataset_leaves_a_404(sdk):
    sdk(lambda c: c.datasets.create(dataset_id="d", dataset={"example_count": "3"}))
    sdk(lambda c: c.datasets.delete("d"))
    with pytest.raises(fireworks.NotFoundError) as caught:
        sdk(lambda c: c.datasets.get("d"))
    assert caught.value.body == {"code": 5, "message": "accounts/local/datasets/d not found", "details": []}


def test_a_dpo_job_is_trained_to_a_model_with_metrics(sdk, pairs_file, wait_until):
    job = trained(sdk, pairs_file(3, "! steps=4"), wait_until, loss_config={"method": "DPO", "dpo": {"beta": 0.2}})
    assert job.state == "JOB_STATE_COMPLETED"
    assert job.loss_config.method == "DPO"
    assert job.training_config.base_model == TINY
    url = sdk(lambda c: c.dpo_jobs.get_metrics_file_endpoint("pw-job")).signed_url
    assert [json.loads(line)["step"] for line in httpx.get(url).text.splitlines()] == [1, 2, 3, 4]
    model = sdk(lambda c: c.models.get("pw-job"))
    assert (model.kind, model.state, model.peft_details.base_model) == ("HF_PEFT_ADDON", "READY", TINY)


def test_orpo_which_the_types_lack_passes_through(sdk, pairs_file, wait_until):
    loss = {"method": "ORPO", "orpo": {"lambda": 0.2}}
    job = trained(sdk, pairs_file(3), wait_until, loss_config=loss)
    assert job.state == "JOB_STATE_COMPLETED"
    assert job.loss_config.model_dump(exclude_none=True) == loss


def test_a_loss_without_a_method_is_not_taken_for_dpo(sdk, pairs_file):
    dataset = uploaded(sdk, pairs_file(3))
    with pytest.raises(fireworks.BadRequestError):
        sdk(
            lambda c: c.dpo_jobs.create(
                dataset=dataset, training_config={"base_model": TINY}, loss_config={"dpo": {"beta": 0.1}}
            )
        )


def test_the_same_job_id_again_is_a_conflict(sdk, pairs_file):
    dataset = uploaded(sdk, pairs_file(3, "! hang"))
    spec = {"dpo_job_id": "pw-one", "dataset": dataset, "training_config": {"base_model": TINY}}
    sdk(lambda c: c.dpo_jobs.create(**spec))
    with pytest.raises(fireworks.ConflictError):
        sdk(lambda c: c.dpo_jobs.create(**spec))
    assert len(sdk.all(lambda c: c.dpo_jobs.list())) == 1
    sdk(lambda c: c.dpo_jobs.cancel("pw-one", body={}))


def test_a_job_is_cancelled_resumed_and_deleted(sdk, pairs_file, wait_until):
    dataset = uploaded(sdk, pairs_file(3, "! steps=200 pause=0.05"))
    config = {"base_model": TINY}
    sdk(lambda c: c.dpo_jobs.create(dpo_job_id="pw-j", dataset=dataset, training_config=config))

    def state():
        return sdk(lambda c: c.dpo_jobs.get("pw-j")).state

    wait_until(state, lambda s: s == "JOB_STATE_RUNNING")
    sdk(lambda c: c.dpo_jobs.cancel("pw-j", body={}))
    wait_until(state, lambda s: s == "JOB_STATE_CANCELLED")
    sdk(lambda c: c.dpo_jobs.resume("pw-j", body={}))
    wait_until(state, lambda s: s == "JOB_STATE_RUNNING")
    sdk(lambda c: c.dpo_jobs.cancel("pw-j", body={}))
    wait_until(state, lambda s: s == "JOB_STATE_CANCELLED")
    sdk(lambda c: c.dpo_jobs.delete("pw-j"))
    with pytest.raises(fireworks.NotFoundError):
        state()


@pytest.mark.parametrize(
    ("config", "loss"),
    [
        ({"max_context_length": 100}, None),
        ({"batch_size": 8}, None),
        ({"gradient_accumulation_steps": 2}, None),
        ({"jinja_template": "x"}, None),
        ({}, {"method": "DPO", "dpo": {"beta": 0.5}}),
        ({"lora_rank": 12}, None),
    ],
)
def test_what_the_trainer_rejects_is_a_bad_request(sdk, pairs_file, config, loss):
    dataset = uploaded(sdk, pairs_file(3))
    settings = {"loss_config": loss} if loss else {}
    with pytest.raises(fireworks.BadRequestError):
        sdk(lambda c: c.dpo_jobs.create(dataset=dataset, training_config={"base_model": TINY, **config}, **settings))
    assert sdk.all(lambda c: c.dpo_jobs.list()) == []


def test_models_of_the_catalogue_say_whether_they_can_be_tuned(sdk):
    model = sdk(lambda c: c.models.get("tiny", account_id="fireworks"))
    assert model.name == TINY
    assert model.model_extra["supervisedLoraTunable"] is True
    assert model.model_extra["useTrainingV2"] is True
    assert TINY in [m.name for m in sdk.all(lambda c: c.models.list(account_id="fireworks"))]


def test_a_base_model_answers_on_its_deployment_and_is_taken_down(sdk, wait_until):
    name = deployed(sdk, "pw-base", TINY)
    completion = answered(sdk, name, wait_until)
    assert completion.choices[0].message.content == "one two three /base"
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    deployment = sdk(lambda c: c.deployments.get("pw-base"))
    assert (deployment.state, deployment.replica_count) == ("READY", 1)
    assert [d.name for d in sdk.all(lambda c: c.deployments.list())] == [name]
    with pytest.raises(fireworks.BadRequestError, match="ignoreChecks"):
        sdk(lambda c: c.deployments.delete("pw-base"))
    sdk(lambda c: c.deployments.delete("pw-base", ignore_checks=True))
    with pytest.raises(fireworks.NotFoundError):
        sdk(lambda c: c.deployments.get("pw-base"))


def test_a_deployment_scaled_to_zero_answers_503_at_once(sdk, wait_until):
    name = deployed(sdk, "pw-base", TINY)
    answered(sdk, name, wait_until)
    sdk(lambda c: c.deployments.scale("pw-base", replica_count=0))
    messages = [{"role": "user", "content": "hi"}]
    with pytest.raises(fireworks.InternalServerError) as caught:
        sdk(lambda c: c.chat.completions.create(model=name, messages=messages))
    assert caught.value.status_code == 503
    assert caught.value.body["error"]["code"] == "DEPLOYMENT_SCALING_UP"


def test_a_deployment_without_hardware_or_shape_is_refused(sdk):
    with pytest.raises(fireworks.BadRequestError, match="accelerator_type must be specified"):
        sdk(lambda c: c.deployments.create(deployment_id="pw-d", base_model=TINY))


def test_an_adapter_is_loaded_addressed_and_unloaded(sdk, pairs_file, wait_until):
    trained(sdk, pairs_file(3), wait_until)
    base = deployed(sdk, "pw-base", TINY, enable_addons=True)
    model = "accounts/local/models/pw-job"
    loaded = sdk(lambda c: c.lora.load(model=model, deployment=base))
    completion = answered(sdk, f"{model}#{base}", wait_until)
    assert completion.choices[0].message.content == "one two three /tuned"
    load_id = loaded.name.rsplit("/", 1)[-1]
    assert sdk(lambda c: c.lora.get(load_id)).state == "DEPLOYED"
    assert [m.name for m in sdk.all(lambda c: c.lora.list())] == [loaded.name]
    sdk(lambda c: c.lora.unload(load_id))
    assert sdk.all(lambda c: c.lora.list()) == []


def test_a_live_merge_answers_to_all_three_addresses(sdk, pairs_file, wait_until):
    trained(sdk, pairs_file(3), wait_until)
    model = "accounts/local/models/pw-job"
    name = deployed(sdk, "pw-merge", model)
    for address in (model, f"{model}#{name}", name):
        assert answered(sdk, address, wait_until).choices[0].message.content.endswith("/tuned")


def test_adapters_do_not_go_onto_quantized_weights(sdk):
    with pytest.raises(fireworks.BadRequestError, match="quantized precisions"):
        deployed(sdk, "pw-d", TINY, enable_addons=True, precision="FP8")


def test_chat_gives_n_choices_and_streams(sdk, wait_until):
    name = deployed(sdk, "pw-base", TINY)
    answered(sdk, name, wait_until)
    messages = [{"role": "user", "content": "a b"}]
    completion = sdk(lambda c: c.chat.completions.create(model=name, messages=messages, n=3))
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    chunks = read_stream(sdk, name, messages)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "a b /base "
    assert chunks[-1].choices[0].finish_reason == "stop"


def read_stream(sdk, model, messages):
    async def read(client):
        return [chunk async for chunk in await client.chat.completions.create(**settings)]

    settings = {"model": model, "messages": messages, "stream": True}
    asynchronous = type(sdk._client).__name__.startswith("Async")
    return sdk(read) if asynchronous else list(sdk(lambda c: c.chat.completions.create(**settings)))


def test_a_model_that_is_not_deployed_is_not_found_in_the_inference_shape(sdk):
    messages = [{"role": "user", "content": "hi"}]
    with pytest.raises(fireworks.NotFoundError) as caught:
        sdk(lambda c: c.chat.completions.create(model=TINY, messages=messages))
    error = caught.value.body["error"]
    assert (error["code"], error["param"]) == ("NOT_FOUND", "model")
    assert error["message"] == "Model not found, inaccessible, and/or not deployed"


def test_an_evaluator_is_created_uploaded_and_its_source_fetched(sdk):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in {
            "my-eval/requirements.txt": "",
            "my-eval/test_it.py": "def score(row): return row\n",
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    data = archive.getvalue()
    evaluator = {"display_name": "Mine", "entry_point": "test_it.py::score"}
    sdk(lambda c: c.evaluators.create(evaluator_id="my-eval", evaluator=evaluator))
    assert sdk(lambda c: c.evaluators.get("my-eval")).state == "BUILDING"
    sizes = {"my-eval.tar.gz": len(data)}
    [url] = sdk(
        lambda c: c.evaluators.get_upload_endpoint("my-eval", filename_to_size=sizes)
    ).filename_to_signed_urls.values()
    headers = {**JSON_HEADERS, "X-Goog-Content-Length-Range": f"{len(data)},{len(data)}"}
    assert httpx.put(url, content=data, headers=headers).status_code == 200
    sdk(lambda c: c.evaluators.validate_upload("my-eval", body={}))
    assert sdk(lambda c: c.evaluators.get("my-eval")).state == "ACTIVE"
    [source] = sdk(lambda c: c.evaluators.get_source_code_endpoint("my-eval")).filename_to_signed_urls.values()
    assert httpx.get(source).content == data
    assert sdk(lambda c: c.evaluators.get_build_log_endpoint("my-eval")).build_log_signed_uri
    assert len(sdk.all(lambda c: c.evaluators.list())) == 1
    sdk(lambda c: c.evaluators.delete("my-eval"))


def test_a_batch_job_answers_a_dataset_of_requests(sdk, tmp_path, wait_until):
    name = deployed(sdk, "pw-base", TINY)
    answered(sdk, name, wait_until)
    requests = tmp_path / "requests.jsonl"
    bodies = [{"messages": [{"role": "user", "content": f"row {i}"}]} for i in range(3)]
    lines = [json.dumps({"custom_id": f"r{i}", "body": body}) for i, body in enumerate(bodies)]
    requests.write_text("\n".join(lines) + "\n")
    uploaded(sdk, requests, "requests")
    sdk(
        lambda c: c.batch_inference_jobs.create(
            batch_inference_job_id="pw-b",
            model=TINY,
            input_dataset_id="accounts/local/datasets/requests",
            output_dataset_id="accounts/local/datasets/answers",
            inference_parameters={"max_tokens": 8, "temperature": 0},
        )
    )
    job = wait_until(lambda: sdk(lambda c: c.batch_inference_jobs.get("pw-b")), lambda job: job.state in ENDED)
    assert job.state == "JOB_STATE_COMPLETED"
    assert job.job_progress.successfully_processed_requests == 3
    urls = sdk(lambda c: c.datasets.get_download_endpoint("answers")).filename_to_signed_urls
    rows = [json.loads(line) for url in urls.values() for line in httpx.get(url).text.splitlines()]
    assert {row["custom_id"] for row in rows} == {"r0", "r1", "r2"}
    assert len(sdk.all(lambda c: c.batch_inference_jobs.list())) == 1


def test_the_account_is_known(sdk):
    assert [a.name for a in sdk.all(lambda c: c.accounts.list())] == ["accounts/local"]
    assert sdk(lambda c: c.accounts.get(account_id="local")).name == "accounts/local"


def test_the_wrong_key_is_refused(start_local_server):
    server = start_local_server(key="right")
    client = fireworks.Fireworks(api_key="wrong", account_id="local", base_url=server.url, max_retries=0)
    with client, pytest.raises(fireworks.AuthenticationError):
        client.datasets.list()


def test_an_account_that_is_not_ones_own_can_only_be_read(sdk):
    with pytest.raises(fireworks.PermissionDeniedError):
        sdk(lambda c: c.datasets.create(account_id="fireworks", dataset_id="d", dataset={"example_count": "3"}))
