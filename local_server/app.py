"""The ASGI application: routes, errors in shape, the key, one log line a request."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import logging
import time
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_server import errors
from local_server.config import KEY_VARIABLE
from local_server.errors import ApiError
from local_server.routes import (
    accounts,
    batch_jobs,
    billing,
    datasets,
    deployed_models,
    deployments,
    dpo_jobs,
    evaluators,
    inference,
    models,
    signed,
)
from local_server.services import Services
from local_server.signing import SIGNED_PREFIX

logger = logging.getLogger("local_server.requests")

_OPEN = ("/health",)  # needs no key; a signed URL is its own


def create_app(found: Services, *, middleware: Sequence[Middleware] = ()) -> ASGIApp:
    """The server over these services, which it starts and closes. `middleware` stands before all else."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await found.start()
        try:
            yield
        finally:
            await found.close()

    modules = (
        accounts, datasets, models, dpo_jobs, evaluators, deployments, deployed_models, batch_jobs, inference,
        billing, signed,
    )  # fmt: skip
    app = Starlette(
        routes=[route for module in modules for route in module.ROUTES],
        middleware=[Middleware(RequestLog), Middleware(Crashes), Middleware(Guard, key=found.settings.key)],
        exception_handlers={
            ApiError: errors.on_api_error,
            HTTPException: errors.on_http_exception,
            signed.StorageError: signed.on_storage_error,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.services = found
    whole: ASGIApp = app
    for outer in reversed(middleware):
        whole = outer.cls(whole, *outer.args, **outer.kwargs)
    return whole


class Crashes:
    """An exception that nobody expected is answered in shape. Starlette's own would cut the connection as well."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            await errors.on_crash(Request(scope), error)(scope, receive, send)


class Guard:
    """Lets in who has the key, compared in constant time. Without a key: who is on this machine and not a web page.

    A page on the web can make its reader's browser call 127.0.0.1, under a name of the page's own (DNS rebinding) or
    across origins; both show in the headers Host and Origin.
    """

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode() if key else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (error := self._fault(scope["path"], Headers(scope=scope))):
            await errors.respond(Request(scope), error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _fault(self, path: str, headers: Headers) -> ApiError | None:
        if self._expected is None:
            names = (headers.get("host", ""), headers.get("origin", "").partition("://")[2])
            if all(is_loopback(name) for name in names if name):
                return None
            return ApiError(
                "PERMISSION_DENIED",
                f"a server without a key answers this machine alone; set {KEY_VARIABLE} to be reached by other names",
            )
        given = headers.get("authorization", "").encode()
        open_to_all = path in _OPEN or path.startswith(f"{SIGNED_PREFIX}/")
        if open_to_all or hmac.compare_digest(given, self._expected):
            return None
        return ApiError("UNAUTHENTICATED", "the API key is missing or not this server's")


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, can only be this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class RequestLog:
    """One line a request: method, path, status, milliseconds. No query, no key, no signed token."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            spent = (time.perf_counter() - began) * 1000
            logger.info("%s %s %s %.0f ms", scope["method"], _shown(scope["path"]), status or "-", spent)


def _shown(path: str) -> str:
    return f"{SIGNED_PREFIX}/.../{path.rsplit('/', 1)[-1]}" if path.startswith(SIGNED_PREFIX) else path
