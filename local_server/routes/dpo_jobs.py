"""DPO and ORPO jobs."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_server import listing, training_spec
from local_server.config import ACCOUNT
from local_server.errors import already_exists, invalid, precondition
from local_server.jobs import DPO_JOBS, training_seed
from local_server.models import TUNED_MODELS
from local_server.routes.common import (
    ACCOUNT_PATH,
    account,
    checked_id,
    new_id,
    own_account,
    own_resource,
    parse,
    read_json,
    resource,
    services,
)
from local_server.routes.signed import signed_get
from local_server.services import Services
from local_server.store import Record
from preference.wire import TERMINAL_JOB_STATES, DpoJob, full_name, resource_id


async def create(request: Request) -> Response:
    own_account(request)
    found, raw = services(request), await read_json(request)
    job_id = checked_id(request.query_params.get("dpoJobId") or new_id(), "dpoJobId")
    if found.store.find(f"{DPO_JOBS}/{job_id}"):  # first: a repeated create is told so, whatever has changed since
        raise already_exists(f"{DPO_JOBS}/{job_id}")
    training_spec.method_of(raw)  # before the schema, which would only say that a field is missing
    job = parse(DpoJob, raw, "dpoJob")
    base_model = _base_model(found, job)
    entry = found.models.base(base_model)
    training_spec.check(raw, job, max_context=entry.context_length if entry else None)
    dataset = found.store.find(job.dataset)
    if dataset is None:
        raise invalid(f"dataset {job.dataset} not found; give its full name, accounts/{ACCOUNT}/datasets/<id>")
    if dataset.state != "READY":
        raise precondition(f"{job.dataset} is {dataset.state}; wait until it is READY")
    output_model = _output_model(found, job, job_id)
    body = job.to_json() | {"trainingSeed": training_seed(job_id), "state": "JOB_STATE_CREATING"}
    if wandb := body.get("wandbConfig"):
        if not isinstance(wandb, dict):
            raise invalid("wandbConfig must be an object")
        body["wandbConfig"] = {key: value for key, value in wandb.items() if key != "apiKey"}
    private = {"base_model": base_model, "output_model": output_model}
    record = found.store.create(f"{DPO_JOBS}/{job_id}", body, private)
    found.store.update(record.name, {"state": "JOB_STATE_PENDING"})
    await found.jobs.wake()
    return JSONResponse(record.body)


def _base_model(found: Services, job: DpoJob) -> str:
    """The catalogue's full name of the job's base model. Raises INVALID_ARGUMENT."""
    stated = job.training_config.base_model
    if not stated:
        return ""  # the spec's own check says what is missing
    entry = found.models.base(stated)
    if entry is None:
        known = ", ".join(found.models.entries())
        raise invalid(f"model is not supported for fine-tuning: {stated}; this server has {known}")
    return full_name("fireworks", "models", stated)


def _output_model(found: Services, job: DpoJob, job_id: str) -> str:
    """The full name of what the job will make; one model has one job. Raises INVALID_ARGUMENT, ALREADY_EXISTS."""
    stated = job.training_config.output_model or job_id
    name = full_name(ACCOUNT, "models", stated)
    if not name.startswith(f"{TUNED_MODELS}/"):
        raise invalid(f"trainingConfig.outputModel must be in {TUNED_MODELS}, found {stated}")
    checked_id(resource_id(name), "trainingConfig.outputModel")
    under_way = any(
        other.private["output_model"] == name and other.state not in TERMINAL_JOB_STATES
        for other in found.store.all(DPO_JOBS)
    )
    if under_way or found.store.find(name):
        raise already_exists(name)
    return name


async def get(request: Request) -> Response:
    return JSONResponse(_shown(request, services(request).store.get(resource(request, "dpoJobs"))))


def _shown(request: Request, job: Record) -> dict[str, Any]:
    log = services(request).jobs.folder(job) / "log.txt"
    return job.body | ({"trainerLogsSignedUrl": signed_get(request, log)} if log.exists() else {})


async def list_jobs(request: Request) -> Response:
    records = services(request).store.all(f"accounts/{account(request)}/dpoJobs")
    return JSONResponse(listing.page([job.body for job in records], "dpoJobs", request.query_params))


async def delete(request: Request) -> Response:
    await services(request).jobs.delete(own_resource(request, "dpoJobs"))
    return JSONResponse({})


async def cancel(request: Request) -> Response:
    await services(request).jobs.cancel(own_resource(request, "dpoJobs"))
    return JSONResponse({})


async def resume(request: Request) -> Response:
    found, name = services(request), own_resource(request, "dpoJobs")
    await found.jobs.resume(name)
    return JSONResponse(found.store.get(name).body)


async def get_metrics_file_endpoint(request: Request) -> Response:
    """The URL is empty until the job has written its first line."""
    found = services(request)
    metrics = found.jobs.folder(found.store.get(resource(request, "dpoJobs"))) / "metrics.jsonl"
    return JSONResponse({"signedUrl": signed_get(request, metrics) if metrics.exists() else ""})


_ALL = f"{ACCOUNT_PATH}/dpoJobs"
_ONE = f"{_ALL}/{{id}}"

ROUTES = [
    Route(_ALL, create, methods=["POST"]),
    Route(_ALL, list_jobs, methods=["GET"]),
    Route(f"{_ONE}:cancel", cancel, methods=["POST"]),
    Route(f"{_ONE}:resume", resume, methods=["POST"]),
    Route(f"{_ONE}:getMetricsFileEndpoint", get_metrics_file_endpoint, methods=["GET"]),
    Route(_ONE, get, methods=["GET"]),
    Route(_ONE, delete, methods=["DELETE"]),
]
