"""Models: base models under accounts/fireworks, trained adapters under accounts/local."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_server import listing, weights
from local_server.addressing import DEPLOYED_MODELS, DEPLOYMENTS
from local_server.errors import ApiError, not_found, precondition
from local_server.models import tokenizer_paths
from local_server.routes.common import ACCOUNT_PATH, account, own_resource, resource, services
from local_server.routes.signed import signed_get

_COPYING = threading.Lock()  # clients ask at once


async def get(request: Request) -> Response:
    found, name = services(request), resource(request, "models")
    refs = [
        {"name": loaded.name, "deployment": loaded.body["deployment"], "state": loaded.state}
        for loaded in found.store.all(DEPLOYED_MODELS)
        if loaded.body["model"] == name
    ]
    return JSONResponse({**found.models.get(name), "deployedModelRefs": refs})


async def list_models(request: Request) -> Response:
    models = services(request).models.of(account(request))
    return JSONResponse(listing.page(models, "models", request.query_params))


async def delete(request: Request) -> Response:
    """A tuned model that nothing serves."""
    found, name = services(request), own_resource(request, "models")
    for served in (*found.store.all(DEPLOYMENTS), *found.store.all(DEPLOYED_MODELS)):
        if name in (served.body.get("baseModel"), served.body.get("model")):
            raise precondition(f"{name} is served by {served.name}; delete that first")
    found.store.delete(name)
    folder = found.models.adapter_folder(name)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
    return JSONResponse({})


async def get_download_endpoint(request: Request) -> Response:
    """The tokenizer's files, so that clients can count tokens exactly; for a tuned model its adapter, too."""
    found, name = services(request), resource(request, "models")
    entry = found.models.base(found.models.base_name(name))
    if entry is None:
        raise not_found(name)
    try:
        folder = await asyncio.to_thread(weights.ensure, entry, found.home)
    except weights.WeightsError as error:
        raise ApiError("FAILED_PRECONDITION", str(error)) from None
    # signed URLs reach only into the server's own folder, and a base model may lie anywhere: its files are copied
    kept = await asyncio.to_thread(_kept_here, tokenizer_paths(folder), found.home / "tokenizers" / entry.id)
    adapter = found.models.adapter_folder(name)
    paths = kept + (sorted(path for path in adapter.iterdir() if path.is_file()) if adapter else [])
    urls = {path.name: signed_get(request, path) for path in paths}
    return JSONResponse({"filenameToSignedUrls": urls})


def _kept_here(paths: list[Path], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for path in paths:
        copy = folder / path.name
        with _COPYING:
            if not copy.exists() or copy.stat().st_mtime < path.stat().st_mtime:
                partial = copy.with_name(f".{copy.name}.partial")
                shutil.copy2(path, partial)
                partial.rename(copy)
        copies.append(copy)
    return copies


_ALL = f"{ACCOUNT_PATH}/models"
_ONE = f"{_ALL}/{{id}}"

ROUTES = [
    Route(_ALL, list_models, methods=["GET"]),
    Route(f"{_ONE}:getDownloadEndpoint", get_download_endpoint, methods=["GET"]),
    Route(_ONE, get, methods=["GET"]),
    Route(_ONE, delete, methods=["DELETE"]),
]
