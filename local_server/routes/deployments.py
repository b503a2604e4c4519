"""Deployments."""

from __future__ import annotations

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_server.addressing import DEPLOYMENTS
from local_server.errors import invalid, not_found
from local_server.routes.common import (
    ACCOUNT_PATH,
    checked_id,
    flag,
    get_of,
    list_of,
    new_id,
    own_account,
    own_resource,
    parse,
    read_json,
    services,
)
from preference.wire import Deployment

MIN_SCALE_TO_ZERO = timedelta(minutes=5)
CHANGEABLE = ("displayName", "description", "minReplicaCount", "maxReplicaCount", "autoscalingPolicy")


async def create(request: Request) -> Response:
    own_account(request)
    found, raw = services(request), await read_json(request)
    deployment_id = checked_id(request.query_params.get("deploymentId") or new_id(), "deploymentId")
    spec = parse(Deployment, raw, "deployment")
    _check(spec)
    if found.models.base(spec.base_model) is None and found.models.tuned(spec.base_model) is None:
        raise not_found(f"model {spec.base_model}")
    record = found.serving.create(f"{DEPLOYMENTS}/{deployment_id}", spec)
    return JSONResponse(record.body)


def _check(spec: Deployment) -> None:
    """Raises INVALID_ARGUMENT."""
    if not spec.deployment_shape and not spec.accelerator_type:
        raise invalid("accelerator_type must be specified for non-embeddings engines; or set deploymentShape")
    if spec.enable_addons and any(word in (spec.precision or "") for word in ("FP8", "FP4", "NF4")):
        raise invalid("addons cannot be enabled with quantized precisions (FP8/FP4)")
    low, high = spec.min_replica_count or 0, spec.max_replica_count
    if low < 0 or (high is not None and high < max(low, 1)):
        raise invalid(f"minReplicaCount {low} and maxReplicaCount {high} do not make a range of at least 1")
    window = spec.autoscaling_policy.scale_to_zero_window if spec.autoscaling_policy else None
    if window is not None and window < MIN_SCALE_TO_ZERO:
        raise invalid("autoscalingPolicy.scaleToZeroWindow must be at least 300s")


async def patch(request: Request) -> Response:
    """What may change while it runs; the model and the hardware may not."""
    found, name = services(request), own_resource(request, "deployments")
    changes = await read_json(request)
    if fixed := changes.keys() - set(CHANGEABLE) - {"name", "baseModel"}:
        raise invalid(f"{', '.join(sorted(fixed))} cannot be changed; {', '.join(CHANGEABLE)} can")
    changes = {key: value for key, value in changes.items() if key in CHANGEABLE}
    _check(parse(Deployment, {**found.store.get(name).body, **changes}, "deployment"))
    return JSONResponse(found.store.update(name, changes).body)


async def scale(request: Request) -> Response:
    found, name = services(request), own_resource(request, "deployments")
    replicas = (await read_json(request)).get("replicaCount", 0)
    if not isinstance(replicas, int):
        raise invalid(f"replicaCount must be a whole number, found {replicas!r}")
    found.serving.scale(name, replicas)
    return JSONResponse({})


async def delete(request: Request) -> Response:
    ignore = flag(request, "ignoreChecks") or flag(request, "hard")
    await services(request).serving.delete(own_resource(request, "deployments"), ignore_checks=ignore)
    return JSONResponse({})


_ALL = f"{ACCOUNT_PATH}/deployments"
_ONE = f"{_ALL}/{{id}}"

ROUTES = [
    Route(_ALL, create, methods=["POST"]),
    Route(_ALL, list_of("deployments"), methods=["GET"]),
    Route(f"{_ONE}:scale", scale, methods=["PATCH"]),
    Route(_ONE, get_of("deployments"), methods=["GET"]),
    Route(_ONE, patch, methods=["PATCH"]),
    Route(_ONE, delete, methods=["DELETE"]),
]
