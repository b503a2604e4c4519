"""Who one is here: any key, or the one that was set, belongs to the account `local`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_server import listing
from local_server.config import ACCOUNT
from local_server.routes.common import ACCOUNT_PATH, account, services


def _account(name: str) -> dict[str, str]:
    display = "This machine" if name == ACCOUNT else "Base models"
    return {
        "name": f"accounts/{name}",
        "displayName": display,
        "state": "READY",
        "suspendState": "UNSUSPENDED",
        "createTime": "2026-01-01T00:00:00Z",
    }


async def list_accounts(request: Request) -> Response:
    return JSONResponse(listing.page([_account(ACCOUNT)], "accounts", request.query_params))


async def get_account(request: Request) -> Response:
    return JSONResponse(_account(account(request)))


async def verify_api_key(_: Request) -> Response:
    return JSONResponse({}, headers={"x-fireworks-account-id": ACCOUNT})


async def health(request: Request) -> Response:
    found = services(request)
    return JSONResponse({"status": "ok", "account": ACCOUNT, "jobsAtOnce": found.settings.jobs_at_once})


ROUTES = [
    Route("/health", health),
    Route("/verifyApiKey", verify_api_key),
    Route("/v1/verifyApiKey", verify_api_key),
    Route("/v1/accounts", list_accounts),
    Route(ACCOUNT_PATH, get_account),
]
