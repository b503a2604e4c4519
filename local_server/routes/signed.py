"""The targets of signed URLs. They need no key: the URL is the leave. PUT wants exactly the signed headers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from local_server.config import ACCOUNT
from local_server.files import TooLarge
from local_server.routes.common import base_url, services
from local_server.services import Services
from local_server.signing import SIGNED_PREFIX, BadSignature, Grant

OCTETS = "application/octet-stream"
_BLOCK = 1 << 20


class StorageError(Exception):
    """In the shape of the object store behind the cloud's URLs: XML with a code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


async def on_storage_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, StorageError)
    text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{error.code}</Code><Message>{error}</Message></Error>"
    return Response(text, status_code=error.status, media_type="application/xml")


def signed_get(request: Request, path: Path) -> str:
    """A URL from which the file can be read for an hour."""
    return _sign(request, "GET", path, None)


def signed_put(request: Request, path: Path, size: int) -> str:
    """A URL to which exactly `size` bytes can be written for an hour."""
    return _sign(request, "PUT", path, size)


def _sign(request: Request, method: str, path: Path, size: int | None) -> str:
    found = services(request)
    expires = found.settings.clock() + found.settings.signed_url_life_s
    grant = Grant(method, path.relative_to(found.home).as_posix(), size, expires)
    return found.signer.url(base_url(request), grant)


def _granted(request: Request) -> tuple[Services, Grant, Path]:
    found = services(request)
    try:
        grant = found.signer.read(request.path_params["token"])
    except BadSignature:
        raise StorageError(403, "SignatureDoesNotMatch", "The URL was not signed by this server.") from None
    method = "GET" if request.method == "HEAD" else request.method
    if grant.method != method:
        raise StorageError(403, "SignatureDoesNotMatch", f"The URL was signed for {grant.method}.")
    if grant.expires < found.settings.clock():
        raise StorageError(400, "ExpiredToken", "The URL has expired; ask for a new one.")
    return found, grant, found.home / grant.path


async def download(request: Request) -> Response:
    """Ranges are honoured, so that a broken download can go on."""
    _, _, path = _granted(request)
    try:
        found = path.stat()
    except FileNotFoundError:
        raise StorageError(404, "NoSuchKey", "The file does not exist.") from None
    whole = FileResponse(path, media_type=OCTETS, stat_result=found)
    if request.method == "HEAD" or "range" in request.headers:
        return whole
    # a job's metrics grow while they are read: exactly as many bytes as the headers say
    return StreamingResponse(_first_bytes(path, found.st_size), headers=dict(whole.headers))


def _first_bytes(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size and (block := file.read(min(size, _BLOCK))):
            size -= len(block)
            yield block


async def upload(request: Request) -> Response:
    found, grant, path = _granted(request)
    assert grant.size is not None
    if request.headers.get("content-type") != OCTETS:
        raise StorageError(400, "MalformedSecurityHeader", f"The signed header content-type must be {OCTETS}.")
    if request.headers.get("x-goog-content-length-range") != f"{grant.size},{grant.size}":
        raise StorageError(
            400,
            "MalformedSecurityHeader",
            f"The signed header x-goog-content-length-range must be {grant.size},{grant.size}.",
        )
    if not path.parent.is_dir():
        raise StorageError(404, "NoSuchBucket", "The resource that this upload belongs to is gone.")
    try:
        arrived = await found.incoming.receive(_blocks(request), at_most=grant.size)
    except TooLarge:
        raise StorageError(400, "EntityTooLarge", f"More than the {grant.size} bytes announced.") from None
    except ClientDisconnect:
        return Response(status_code=499)  # nobody reads it; the half-written file is gone
    if (size := arrived.stat().st_size) != grant.size:
        arrived.unlink()
        raise StorageError(400, "EntityTooSmall", f"{size} bytes came, {grant.size} were announced.")
    if not _open(found, grant):
        arrived.unlink()
        raise StorageError(403, "AccessDenied", "The upload is over: what was validated cannot be changed.")
    arrived.rename(path)
    return Response(status_code=200)


def _open(found: Services, grant: Grant) -> bool:
    """Whether the resource still waits for its files; the URL outlives that by up to an hour."""
    collection, id = grant.path.split("/")[:2]
    record = found.store.find(f"accounts/{ACCOUNT}/{collection}/{id}")
    return record is not None and record.state in ("UPLOADING", "BUILDING") and not record.private.get("checking")


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    async for block in request.stream():
        yield block


ROUTES = [
    Route(f"{SIGNED_PREFIX}/{{token}}/{{file}}", download, methods=["GET"]),
    Route(f"{SIGNED_PREFIX}/{{token}}/{{file}}", upload, methods=["PUT"]),
]
