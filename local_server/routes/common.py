"""What every route needs: the services, the account in the path, a bounded body, a checked ID."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local_server import listing
from local_server.config import ACCOUNT, CATALOGUE_ACCOUNT
from local_server.errors import ApiError, from_validation, invalid
from local_server.services import Services
from preference.wire import Wire, is_resource_id

ACCOUNT_PATH = "/v1/accounts/{account}"
MAX_DISPLAY_NAME = 63
READ_ONLY = ("name", "state", "status", "createTime", "updateTime", "completedTime", "createdBy")

Endpoint = Callable[[Request], Awaitable[Response]]
W = TypeVar("W", bound=Wire)


def services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


def account(request: Request) -> str:
    """The account in the path: the local one, or the catalogue's, which may be read. Raises NOT_FOUND."""
    name: str = request.path_params["account"]
    if name not in (ACCOUNT, CATALOGUE_ACCOUNT):
        raise ApiError("NOT_FOUND", f'account "{name}" not found; this server has the account "{ACCOUNT}"')
    return name


def own_account(request: Request) -> str:
    """For what changes something. Raises PERMISSION_DENIED elsewhere than in the local account."""
    if (name := account(request)) != ACCOUNT:
        raise ApiError("PERMISSION_DENIED", f'account "{name}" can only be read; create in account "{ACCOUNT}"')
    return name


def resource(request: Request, collection: str) -> str:
    """The full name of the resource in the path."""
    return f"accounts/{account(request)}/{collection}/{request.path_params['id']}"


def own_resource(request: Request, collection: str) -> str:
    return f"accounts/{own_account(request)}/{collection}/{request.path_params['id']}"


def checked_id(text: str, field: str) -> str:
    if not is_resource_id(text):
        raise invalid(
            f"{field} {text!r} is not valid: 1 to 63 of a-z, 0-9 and -, beginning with a letter, not ending in -"
        )
    return text


def new_id(prefix: str = "") -> str:
    """A random ID, for resources that the client did not name."""
    return f"{prefix[:53]}-{secrets.token_hex(4)}" if prefix else f"r{secrets.token_hex(7)}"


async def read_json(request: Request) -> dict[str, Any]:
    """The body as an object; an empty body is {}. Raises INVALID_ARGUMENT, 413 if it is too large."""
    limit = services(request).settings.max_json_bytes
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > limit:
            raise ApiError("INVALID_ARGUMENT", f"the request's body is larger than {limit} bytes", status=413)
    try:
        found = json.loads(body) if body.strip() else {}
        # what Python reads and no answer could show again: NaN, Infinity, 1e400, half a surrogate pair
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise invalid(f"the request's body is not JSON: {_short(error)}") from None
    if not isinstance(found, dict):
        raise invalid(f"the request's body must be a JSON object, found {type(found).__name__}")
    return found


def _short(error: Exception) -> str:
    """A codec's error without its input, which holds what cannot be sent back."""
    return "text with half a surrogate pair" if isinstance(error, UnicodeEncodeError) else str(error)[:200]


def parse(model: type[W], raw: Any, what: str) -> W:
    """The resource without what only the server may set. Raises INVALID_ARGUMENT."""
    if not isinstance(raw, dict):
        raise invalid(f"{what} must be an object")
    settable = {key: value for key, value in raw.items() if key not in READ_ONLY and value is not None}
    try:
        found = model.parse(settable)
    except ValidationError as error:
        raise from_validation(error, what) from None
    if len(getattr(found, "display_name", None) or "") > MAX_DISPLAY_NAME:
        raise invalid(f"{what}: displayName must be shorter than {MAX_DISPLAY_NAME + 1} characters")
    return found


def get_of(collection: str) -> Endpoint:
    """GET of one resource, as the store has it."""

    async def get(request: Request) -> Response:
        return JSONResponse(services(request).store.get(resource(request, collection)).body)

    return get


def list_of(collection: str) -> Endpoint:
    """GET of a page of an account's resources."""

    async def list_all(request: Request) -> Response:
        records = services(request).store.all(f"accounts/{account(request)}/{collection}")
        return JSONResponse(listing.page([record.body for record in records], collection, request.query_params))

    return list_all


def flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "").lower() in ("true", "1")


def base_url(request: Request) -> str:
    """Scheme and host as the client wrote them, so that signed URLs work behind its way to here."""
    return f"{request.url.scheme}://{request.url.netloc}"
