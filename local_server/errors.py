"""Errors in the API's two shapes: google.rpc.Status on the control plane, {"error": ...} on inference."""

from __future__ import annotations

import errno
import logging
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

logger = logging.getLogger("local_server")

# google.rpc.Code: name → (number, HTTP status)
_CODES = {
    "CANCELLED": (1, 499),
    "UNKNOWN": (2, 500),
    "INVALID_ARGUMENT": (3, 400),
    "DEADLINE_EXCEEDED": (4, 504),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "ABORTED": (10, 409),
    "OUT_OF_RANGE": (11, 400),
    "UNIMPLEMENTED": (12, 501),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
    "UNAUTHENTICATED": (16, 401),
}
# of the inference API; its other paths under /v1 are the control plane's
_INFERENCE = (
    "/inference/",
    *(f"/v1/{name}" for name in ("chat/", "models", "completions", "messages", "responses", "embeddings")),
)
_BY_STATUS = {404: "NOT_FOUND", 405: "UNIMPLEMENTED", 400: "INVALID_ARGUMENT", 413: "INVALID_ARGUMENT"}


class ApiError(Exception):
    """An answer other than 200. `code` is google.rpc's name, or inference's own such as DEPLOYMENT_SCALING_UP."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or _CODES.get(code, (2, 500))[1]
        self.param = param
        self.headers = headers


def invalid(message: str) -> ApiError:
    return ApiError("INVALID_ARGUMENT", message)


def not_found(name: str) -> ApiError:
    return ApiError("NOT_FOUND", f"{name} not found")


def already_exists(name: str) -> ApiError:
    return ApiError("ALREADY_EXISTS", f"{name} already exists")


def precondition(message: str) -> ApiError:
    return ApiError("FAILED_PRECONDITION", message)


def from_validation(error: ValidationError, what: str) -> ApiError:
    """The first fault of a body, named as the wire names it."""
    fault = error.errors()[0]
    field = ".".join(str(part) for part in fault["loc"]) or what
    return invalid(f"{what}: {field}: {fault['msg']}")


def is_inference(path: str) -> bool:
    """Whether a path belongs to the inference API, which has the other error shape."""
    return path.startswith(_INFERENCE)


def body(error: ApiError, *, inference: bool) -> dict[str, Any]:
    if not inference:
        number = _CODES.get(error.code, (2, 500))[0]
        return {"code": number, "message": error.message, "details": []}
    kind = "error" if error.status >= 500 else "invalid_request_error"
    inner = {"object": "error", "type": kind, "code": error.code, "message": error.message}
    return {"error": inner | ({"param": error.param} if error.param else {})}


def respond(request: Request, error: ApiError) -> Response:
    shape = body(error, inference=is_inference(request.url.path))
    return JSONResponse(shape, status_code=error.status, headers=error.headers)


async def on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return respond(request, error)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own: no such path, wrong method."""
    assert isinstance(error, HTTPException)
    code = _BY_STATUS.get(error.status_code, "UNKNOWN")
    status = error.status_code
    if status == 405 and not is_inference(request.url.path):
        status = 501  # the cloud's gateway says "Method Not Allowed" with 501
    message = f"{error.detail}: {request.method} {request.url.path}"
    return respond(request, ApiError(code, message, status=status))


def on_crash(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    full = getattr(error, "errno", None) == errno.ENOSPC or "disk is full" in str(error)  # the latter is SQLite's
    message = "no space left where the local server keeps its files" if full else "internal error"
    return respond(request, ApiError("INTERNAL", f"{message}; the server's log has the details"))
