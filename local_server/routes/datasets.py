"""Datasets: create, upload small or large, download."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_server.errors import ApiError, invalid, precondition
from local_server.jobs import DPO_JOBS
from local_server.multipart import receive_file
from local_server.routes.common import (
    ACCOUNT_PATH,
    checked_id,
    get_of,
    list_of,
    own_account,
    own_resource,
    parse,
    read_json,
    resource,
    services,
)
from local_server.routes.signed import signed_get, signed_put
from preference.wire import TERMINAL_JOB_STATES, Dataset, resource_id

FORMATS = ("FORMAT_UNSPECIFIED", "CHAT", "COMPLETION", "RL")


async def create(request: Request) -> Response:
    own_account(request)
    body = await read_json(request)
    if body.get("sourceDatasetId") or body.get("filter"):
        raise ApiError("UNIMPLEMENTED", "the local server does not derive datasets; upload the rows that you want")
    dataset_id = checked_id(str(body.get("datasetId", "")), "datasetId")
    spec = parse(Dataset, body.get("dataset", {}), "dataset")
    if spec.example_count is None:
        raise invalid("dataset.exampleCount is required: the number of non-empty lines")
    if spec.example_count < 0:
        raise invalid(f"dataset.exampleCount must not be negative, found {spec.example_count}")
    if spec.format not in FORMATS:
        raise invalid(f"dataset.format must be one of {', '.join(FORMATS)}, found {spec.format}")
    if (spec.model_extra or {}).get("externalUrl"):
        raise ApiError("UNIMPLEMENTED", "the local server reads no buckets; upload the file")
    stated = {"userUploaded": {}, **spec.to_json()}
    return JSONResponse(services(request).datasets.create(dataset_id, stated).body)


async def patch(request: Request) -> Response:
    name = own_resource(request, "datasets")
    display = (await read_json(request)).get("displayName")
    return JSONResponse(services(request).store.update(name, {"displayName": display} if display else {}).body)


async def delete(request: Request) -> Response:
    found, name = services(request), own_resource(request, "datasets")
    for job in found.store.all(DPO_JOBS):
        if job.body["dataset"] == name and job.state not in TERMINAL_JOB_STATES:
            raise precondition(f"{name} is used by {job.name}, which is {job.state}; cancel that first")
    found.datasets.delete(name)
    return JSONResponse({})


async def upload(request: Request) -> Response:
    """A multipart body with one part named file, at most 150 MB."""
    found, name = services(request), own_resource(request, "datasets")
    dataset = found.store.get(name)
    found.datasets.expect_uploading(dataset)
    limit = found.settings.max_small_upload_bytes
    arrived, filename = await receive_file(request, found.incoming, at_most=limit)
    size = arrived.stat().st_size
    try:
        await found.datasets.accept(dataset, arrived, filename)
    finally:
        arrived.unlink(missing_ok=True)
    return JSONResponse(
        {
            "id": resource_id(name),
            "object": "file",
            "bytes": size,
            "created_at": int(found.settings.clock()),
            "filename": filename,
            "purpose": "fine-tune",
        }
    )


async def get_upload_endpoint(request: Request) -> Response:
    found = services(request)
    dataset = found.store.get(own_resource(request, "datasets"))
    sizes = file_sizes(await read_json(request))
    found.datasets.announce(dataset, sizes)
    folder = found.datasets.folder(dataset)
    urls = {name: signed_put(request, folder / name, size) for name, size in sizes.items()}
    return JSONResponse({"filenameToSignedUrls": urls})


def file_sizes(body: dict[str, Any]) -> dict[str, int]:
    """filenameToSize; int64 may be a number or a string."""
    sizes = body.get("filenameToSize")
    if not isinstance(sizes, dict) or not sizes:
        raise invalid('filenameToSize is required, such as {"train.jsonl": 1024}')
    try:
        return {str(name): int(size) for name, size in sizes.items()}
    except (TypeError, ValueError):
        raise invalid("filenameToSize must give each file's size in bytes") from None


async def validate_upload(request: Request) -> Response:
    found = services(request)
    found.datasets.validate(found.store.get(own_resource(request, "datasets")))
    return JSONResponse({})


async def get_download_endpoint(request: Request) -> Response:
    found = services(request)
    dataset = found.store.get(resource(request, "datasets"))
    if dataset.state != "READY":
        raise precondition(f"{dataset.name} is {dataset.state}; it can be downloaded when it is READY")
    # object paths as keys, as the cloud's: a client takes the last part as the file's name
    urls = {f"{dataset.name}/{path.name}": signed_get(request, path) for path in found.datasets.files(dataset)}
    return JSONResponse({"filenameToSignedUrls": urls})


_ALL = f"{ACCOUNT_PATH}/datasets"
_ONE = f"{_ALL}/{{id}}"

ROUTES = [
    Route(_ALL, create, methods=["POST"]),
    Route(_ALL, list_of("datasets"), methods=["GET"]),
    # before the plain route: {id} would match "train:upload" too
    Route(f"{_ONE}:upload", upload, methods=["POST"]),
    Route(f"{_ONE}:getUploadEndpoint", get_upload_endpoint, methods=["POST"]),
    Route(f"{_ONE}:validateUpload", validate_upload, methods=["POST"]),
    Route(f"{_ONE}:getDownloadEndpoint", get_download_endpoint, methods=["GET"]),
    Route(_ONE, get_of("datasets"), methods=["GET"]),
    Route(_ONE, patch, methods=["PATCH"]),
    Route(_ONE, delete, methods=["DELETE"]),
]
