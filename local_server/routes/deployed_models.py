"""LoRA adapters loaded on deployments of their base model."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_server.addressing import DEPLOYED_MODELS, DEPLOYMENTS
from local_server.errors import ApiError, already_exists, invalid, not_found, precondition
from local_server.routes.common import (
    ACCOUNT_PATH,
    get_of,
    list_of,
    new_id,
    own_account,
    own_resource,
    parse,
    read_json,
    services,
)
from preference.wire import DeployedModel, resource_id

MAX_ADAPTERS = 100  # the account's quota
CHANGEABLE = ("displayName", "description", "default", "public")


async def create(request: Request) -> Response:
    own_account(request)
    found = services(request)
    spec = parse(DeployedModel, await read_json(request), "deployedModel")
    if spec.serverless:
        raise invalid("serverless LoRA is not offered; load the adapter on a deployment of its base model")
    model = found.models.tuned(spec.model)
    if model is None:
        raise not_found(f"model {spec.model}")
    deployment = found.store.find(spec.deployment)
    if deployment is None or not spec.deployment.startswith(f"{DEPLOYMENTS}/"):
        raise not_found(f"deployment {spec.deployment}")
    if not deployment.body.get("enableAddons"):
        raise precondition(f"{spec.deployment} does not take adapters; create it with enableAddons set to true")
    base = model.body["peftDetails"]["baseModel"]
    if deployment.body["baseModel"] != base:
        raise invalid(f"{spec.model} is an adapter of {base}, and {spec.deployment} serves another model")
    loaded = found.store.all(DEPLOYED_MODELS)
    for other in loaded:
        if (other.body["model"], other.body["deployment"]) == (spec.model, spec.deployment):
            raise already_exists(f"{other.name}, with {spec.model} on {spec.deployment},")
    if len(loaded) >= MAX_ADAPTERS:
        raise ApiError("RESOURCE_EXHAUSTED", f"quota exceeded: {MAX_ADAPTERS} adapters are loaded; unload some")
    body = spec.to_json()
    body.setdefault("default", all(other.body["model"] != spec.model for other in loaded))
    name = f"{DEPLOYED_MODELS}/{new_id(resource_id(spec.model))}"
    return JSONResponse(found.serving.load_adapter(name, body).body)


async def patch(request: Request) -> Response:
    found, name = services(request), own_resource(request, "deployedModels")
    body = await read_json(request)
    changes: dict[str, Any] = {key: body[key] for key in CHANGEABLE if key in body}
    return JSONResponse(found.store.update(name, changes).body)


async def delete(request: Request) -> Response:
    services(request).store.delete(own_resource(request, "deployedModels"))
    return JSONResponse({})


_ALL = f"{ACCOUNT_PATH}/deployedModels"
_ONE = f"{_ALL}/{{id}}"

ROUTES = [
    Route(_ALL, create, methods=["POST"]),
    Route(_ALL, list_of("deployedModels"), methods=["GET"]),
    Route(_ONE, get_of("deployedModels"), methods=["GET"]),
    Route(_ONE, patch, methods=["PATCH"]),
    Route(_ONE, delete, methods=["DELETE"]),
]
