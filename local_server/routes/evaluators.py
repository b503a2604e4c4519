"""Evaluators: kept and handed out, never run here. Running them is the client's, in its sandbox."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_server.archives import archive_fault, criteria_fault, pack_criteria
from local_server.config import ACCOUNT
from local_server.errors import ApiError, invalid, precondition
from local_server.files import safe_name
from local_server.routes.common import (
    ACCOUNT_PATH,
    checked_id,
    flag,
    get_of,
    list_of,
    own_account,
    own_resource,
    parse,
    read_json,
    resource,
    services,
)
from local_server.routes.datasets import file_sizes
from local_server.routes.signed import signed_get, signed_put
from local_server.services import Services
from local_server.store import Record
from preference.wire import Evaluator

EVALUATORS = f"accounts/{ACCOUNT}/evaluators"
MAX_ARCHIVE_BYTES = 150_000_000
_BUILD_LOG = ".build.log"


def _folder(found: Services, record: Record) -> Path:
    return found.home / "evaluators" / record.id


async def create(request: Request) -> Response:
    own_account(request)
    found, body = services(request), await read_json(request)
    evaluator_id = checked_id(str(body.get("evaluatorId", "")), "evaluatorId")
    spec = parse(Evaluator, body.get("evaluator", {}), "evaluator")
    stated = spec.to_json()
    for criterion in stated.get("criteria", []):
        for name in (criterion.get("codeSnippets") or {}).get("fileContents") or {}:
            safe_name(name)
    record = found.store.create(f"{EVALUATORS}/{evaluator_id}", {**stated, "state": "BUILDING"})
    shutil.rmtree(_folder(found, record), ignore_errors=True)
    _folder(found, record).mkdir(parents=True)
    if criteria := stated.get("criteria"):
        record = _built(found, record, criteria_fault(criteria))
    return JSONResponse(record.body)


def _built(found: Services, record: Record, fault: str | None) -> Record:
    (_folder(found, record) / _BUILD_LOG).write_text(f"{fault or 'built'}\n", encoding="utf-8")
    status = {"code": "INVALID_ARGUMENT" if fault else "OK", "message": fault or ""}
    return found.store.update(record.name, {"state": "BUILD_FAILED" if fault else "ACTIVE", "status": status})


async def patch(request: Request) -> Response:
    """With prepareCodeUpload=true the evaluator is BUILDING again and waits for a new archive."""
    found, name = services(request), own_resource(request, "evaluators")
    changes: dict[str, Any] = parse(Evaluator, await read_json(request), "evaluator").to_json()
    changes.pop("name", None), changes.pop("state", None)
    if flag(request, "prepareCodeUpload"):
        changes["state"] = "BUILDING"
    record = found.store.update(name, changes)
    if changes.get("criteria"):
        record = _built(found, record, criteria_fault(changes["criteria"]))
    return JSONResponse(record.body)


async def delete(request: Request) -> Response:
    found = services(request)
    record = found.store.get(own_resource(request, "evaluators"))
    found.store.delete(record.name)
    shutil.rmtree(_folder(found, record), ignore_errors=True)
    return JSONResponse({})


async def get_upload_endpoint(request: Request) -> Response:
    found = services(request)
    record = found.store.get(own_resource(request, "evaluators"))
    if record.state != "BUILDING":
        raise precondition(f"{record.name} is {record.state}; PATCH it with prepareCodeUpload=true first")
    sizes = file_sizes(await read_json(request))
    if len(sizes) != 1 or not next(iter(sizes)).endswith(".tar.gz"):
        raise invalid("filenameToSize must name one .tar.gz file")
    name, size = safe_name(next(iter(sizes))), next(iter(sizes.values()))
    if not 0 < size <= MAX_ARCHIVE_BYTES:
        raise invalid(f"an evaluator's archive may have up to {MAX_ARCHIVE_BYTES} bytes, found {size}")
    _folder(found, record).mkdir(parents=True, exist_ok=True)  # a kill may have come between name and folder
    for old in _archives(found, record):
        old.unlink()
    return JSONResponse({"filenameToSignedUrls": {name: signed_put(request, _folder(found, record) / name, size)}})


def _archives(found: Services, record: Record) -> list[Path]:
    return sorted(_folder(found, record).glob("*.tar.gz"))


async def validate_upload(request: Request) -> Response:
    found = services(request)
    record = found.store.get(own_resource(request, "evaluators"))
    archives = _archives(found, record)
    if not archives:
        raise precondition(f"{record.name}: no archive has been uploaded")
    fault = await asyncio.to_thread(archive_fault, archives[0], record.body.get("entryPoint"))
    _built(found, record, fault)
    return JSONResponse({})


async def get_source_code_signed_url(request: Request) -> Response:
    found = services(request)
    record = found.store.get(resource(request, "evaluators"))
    if not (archives := _archives(found, record)) and record.body.get("criteria"):
        packed = _folder(found, record) / f"{record.id}.tar.gz"
        packed.write_bytes(pack_criteria(record.id, record.body["criteria"], record.body.get("requirements", "")))
        archives = [packed]
    if not archives:
        raise ApiError("NOT_FOUND", f"{record.name} has no source: nothing has been uploaded")
    return JSONResponse({"filenameToSignedUrls": {path.name: signed_get(request, path) for path in archives}})


async def get_build_log_endpoint(request: Request) -> Response:
    found = services(request)
    log = _folder(found, found.store.get(resource(request, "evaluators"))) / _BUILD_LOG
    return JSONResponse({"buildLogSignedUri": signed_get(request, log) if log.exists() else ""})


async def preview(_: Request) -> Response:
    raise ApiError("UNIMPLEMENTED", "the local server does not run evaluators; download the source and run it")


_ALL = f"{ACCOUNT_PATH}/evaluators"
_ONE = f"{_ALL}/{{id}}"

ROUTES = [
    Route(f"{_ALL}V2", create, methods=["POST"]),
    Route(f"{_ALL}:previewEvaluator", preview, methods=["POST"]),
    Route(_ALL, create, methods=["POST"]),
    Route(_ALL, list_of("evaluators"), methods=["GET"]),
    Route(f"{_ONE}:getUploadEndpoint", get_upload_endpoint, methods=["POST"]),
    Route(f"{_ONE}:validateUpload", validate_upload, methods=["POST"]),
    Route(f"{_ONE}:getSourceCodeSignedUrl", get_source_code_signed_url, methods=["GET"]),
    Route(f"{_ONE}:getBuildLogEndpoint", get_build_log_endpoint, methods=["GET"]),
    Route(_ONE, get_of("evaluators"), methods=["GET"]),
    Route(_ONE, patch, methods=["PATCH"]),
    Route(_ONE, delete, methods=["DELETE"]),
]
