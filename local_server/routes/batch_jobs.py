"""Batch inference jobs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_server.batches import BATCH_JOBS
from local_server.config import ACCOUNT
from local_server.datasets import DATASETS
from local_server.errors import already_exists, invalid, not_found, precondition
from local_server.routes.common import (
    ACCOUNT_PATH,
    checked_id,
    get_of,
    list_of,
    new_id,
    own_account,
    own_resource,
    parse,
    read_json,
    services,
)
from preference.wire import BatchInferenceJob, full_name, resource_id


async def create(request: Request) -> Response:
    own_account(request)
    found = services(request)
    job_id = checked_id(request.query_params.get("batchInferenceJobId") or new_id(), "batchInferenceJobId")
    name = f"{BATCH_JOBS}/{job_id}"
    if found.store.find(name):
        raise already_exists(name)
    spec = parse(BatchInferenceJob, await read_json(request), "batchInferenceJob")
    model = spec.model.partition("#")[0]
    if found.models.base(model) is None and found.models.tuned(model) is None:
        raise not_found(f"model {spec.model}")
    source = full_name(ACCOUNT, "datasets", spec.input_dataset_id)
    dataset = found.store.find(source)
    if dataset is None:
        raise not_found(source)
    if dataset.state != "READY":
        raise precondition(f"{source} is {dataset.state}; wait until it is READY")
    output = full_name(ACCOUNT, "datasets", spec.output_dataset_id or f"{job_id[:56]}-output")
    checked_id(resource_id(output), "outputDatasetId")
    if not output.startswith(f"{DATASETS}/"):
        raise invalid(f"outputDatasetId must be in {DATASETS}, found {output}")
    if found.store.find(output):
        raise already_exists(output)
    body = spec.to_json() | {"inputDatasetId": source, "outputDatasetId": output}
    return JSONResponse(found.batches.submit(name, body).body)


async def delete(request: Request) -> Response:
    await services(request).batches.delete(own_resource(request, "batchInferenceJobs"))
    return JSONResponse({})


_ALL = f"{ACCOUNT_PATH}/batchInferenceJobs"
_ONE = f"{_ALL}/{{id}}"

ROUTES = [
    Route(_ALL, create, methods=["POST"]),
    Route(_ALL, list_of("batchInferenceJobs"), methods=["GET"]),
    Route(_ONE, get_of("batchInferenceJobs"), methods=["GET"]),
    Route(_ONE, delete, methods=["DELETE"]),
]
