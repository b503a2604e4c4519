"""What was used and what it cost, from what this server really did, at the user's price book.

Shapes: docs.fireworks.ai/api-reference, get-billing-usage, get-billing-summary, query-usage-costs (4.259.0).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_server import listing
from local_server.addressing import DEPLOYED_MODELS
from local_server.config import ACCOUNT
from local_server.errors import invalid
from local_server.jobs import DPO_JOBS
from local_server.routes.common import ACCOUNT_PATH, own_account, read_json, services
from local_server.routes.deployed_models import MAX_ADAPTERS
from local_server.store import UsageEvent
from preference.wire import TERMINAL_JOB_STATES

MAX_RANGE = timedelta(days=31)
SERIES = {
    "INFERENCE": "SERVERLESS",
    "BATCH_INFERENCE": "SERVERLESS",
    "DEPLOYMENT": "DEDICATED_DEPLOYMENT",
    "TRAINING": "TRAINING",
}
USAGE_TYPES = ("SERVERLESS", "DEDICATED_DEPLOYMENT", "TRAINING")
DIMENSIONS = ("HOUR", "DAY", "MODEL", "USER", "API_KEY")
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)

Key = tuple[str, ...]


async def billing_usage(request: Request) -> Response:
    """Metered quantities in daily buckets; no prices."""
    own_account(request)
    query = request.query_params
    events = _events(request, query.get("startTime"), query.get("endTime"), bound=MAX_RANGE)
    wanted = query.get("usageType", "USAGE_TYPE_UNSPECIFIED")
    if wanted not in (*USAGE_TYPES, "USAGE_TYPE_UNSPECIFIED"):
        raise invalid(f"usageType must be one of {', '.join(USAGE_TYPES)}, found {wanted}")
    rows: dict[str, list[dict[str, Any]]] = {"serverlessCosts": [], "dedicatedCosts": [], "trainingCosts": []}
    for (series, resource, model, day), group in _grouped(events, _usage_key).items():
        if wanted in (series, "USAGE_TYPE_UNSPECIFIED"):
            name, row = _usage_row(series, resource, model, group)
            rows[name].append({**row, "startTime": day, "endTime": _later(day, _DAY), "usageType": series})
    return JSONResponse(rows)


def _usage_key(event: UsageEvent) -> Key:
    return SERIES[event.kind], event.resource, event.model, _floor(event.time, _DAY)


def _usage_row(series: str, resource: str, model: str, events: list[UsageEvent]) -> tuple[str, dict[str, Any]]:
    total: dict[str, float] = defaultdict(float)
    for event in events:
        for name, quantity in event.quantities.items():
            total[name] += quantity
    quantities = {name: str(round(quantity)) for name, quantity in total.items()}  # int64: a string on the wire
    if series == "DEDICATED_DEPLOYMENT":
        return "dedicatedCosts", {"deploymentId": resource, "baseModel": model, **quantities}
    if series == "TRAINING":
        return "trainingCosts", {"jobName": resource, "baseModel": model, **quantities}
    return "serverlessCosts", {"modelName": model, **quantities}


async def billing_summary(request: Request) -> Response:
    """Rated line items by category; with granularity=DAILY in buckets of a day as well."""
    own_account(request)
    query = request.query_params
    events = _events(request, query.get("startTime"), query.get("endTime"), bound=MAX_RANGE)
    answer: dict[str, Any] = {"lineItems": _line_items(events)}
    if query.get("granularity") == "DAILY":
        days = _grouped(events, lambda event: (_floor(event.time, _DAY),))
        answer["usageBuckets"] = [
            {"startTime": day, "endTime": _later(day, _DAY), "lineItems": _line_items(group)}
            for (day,), group in days.items()
        ]
    return JSONResponse(answer)


def _line_items(events: list[UsageEvent]) -> list[dict[str, Any]]:
    return [
        {
            "category": kind,
            "series": SERIES[kind],
            "groupingKey": "model",
            "groupingValue": model,
            "quantity": sum(sum(event.quantities.values()) for event in group),
            "totalCost": money(sum(event.cost_usd for event in group)),
        }
        for (kind, model), group in _grouped(events, lambda event: (event.kind, event.model)).items()
    ]


async def query_usage_costs(request: Request) -> Response:
    """Rated costs, grouped by at most two dimensions. One user and one key are all that there is here."""
    own_account(request)
    body = await read_json(request)
    group_by = body.get("groupBy") or []
    if not isinstance(group_by, list) or len(group_by) > 2 or any(name not in DIMENSIONS for name in group_by):
        raise invalid(f"groupBy must name at most two of {', '.join(DIMENSIONS)}, found {group_by}")
    if {"HOUR", "DAY"} <= set(group_by):
        raise invalid("groupBy may name HOUR or DAY, not both")
    events = _events(request, body.get("startTime"), body.get("endTime"))
    groups = _grouped(events, lambda event: tuple(_dimension(name, event) for name in group_by))
    rows = [
        {
            "dimensions": {_FIELDS[name]: value for name, value in zip(group_by, key, strict=True)},
            "subtotal": money(sum(event.cost_usd for event in group)),
        }
        for key, group in groups.items()
    ]
    return JSONResponse(
        {
            "rows": rows,
            "subtotal": money(sum(event.cost_usd for event in events)),
            "evaluationTime": services(request).store.now(),
            "attributionCompleteness": "COMPLETE",
            "nextPageToken": "",
        }
    )


_FIELDS = {"HOUR": "startTime", "DAY": "startTime", "MODEL": "model", "USER": "user", "API_KEY": "apiKeyId"}


def _dimension(name: str, event: UsageEvent) -> str:
    if name == "MODEL":
        return event.model
    if name in ("HOUR", "DAY"):
        return _floor(event.time, _HOUR if name == "HOUR" else _DAY)
    return f"accounts/{ACCOUNT}/users/local" if name == "USER" else "local"


async def quotas(request: Request) -> Response:
    """What is bounded here: training jobs at once, adapters loaded. Disk and time are yours."""
    own_account(request)
    found = services(request)
    running = sum(job.state not in (*TERMINAL_JOB_STATES, "JOB_STATE_PENDING") for job in found.store.all(DPO_JOBS))
    adapters = len(found.store.all(DEPLOYED_MODELS))
    limits = {
        "training-jobs-at-once": (found.settings.jobs_at_once, running),
        "deployed-lora-count": (MAX_ADAPTERS, adapters),
        "chat-requests-in-flight": (found.settings.max_waiting_requests, found.generator.in_flight),
    }
    items = [
        {"name": f"accounts/{ACCOUNT}/quotas/{name}", "value": str(most), "maxValue": str(most), "usage": float(used)}
        for name, (most, used) in limits.items()
    ]
    return JSONResponse(listing.page(items, "quotas", request.query_params))


async def serverless_rate_limits(request: Request) -> Response:
    """None: nothing is serverless here."""
    own_account(request)
    return JSONResponse({"rateLimits": [], "series": []})


def money(usd: float) -> dict[str, Any]:
    """google.type.Money."""
    units, fraction = divmod(round(Decimal(repr(usd)) * 10**9), 10**9)
    return {"currencyCode": "USD", "units": str(units), "nanos": int(fraction)}


def _events(request: Request, start: Any, end: Any, *, bound: timedelta | None = None) -> list[UsageEvent]:
    """Those with start ≤ time < end. Raises INVALID_ARGUMENT."""
    began, ended = _time(start, "startTime"), _time(end, "endTime")
    if began >= ended:
        raise invalid("startTime must be before endTime")
    if bound and ended - began > bound:
        raise invalid(f"endTime must not be more than {bound.days} days after startTime")
    return services(request).store.usage(began.timestamp(), ended.timestamp())


def _time(text: Any, field: str) -> datetime:
    if not text:
        raise invalid(f"{field} is required, such as 2026-11-22T00:00:00Z")
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        raise invalid(f"{field} must be an RFC 3339 time such as 2026-11-22T00:00:00Z, found {text}") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _grouped(events: Iterable[UsageEvent], key: Callable[[UsageEvent], Key]) -> dict[Key, list[UsageEvent]]:
    groups: dict[Key, list[UsageEvent]] = defaultdict(list)
    for event in events:
        groups[key(event)].append(event)
    return dict(groups)


def _floor(time: float, width: timedelta) -> str:
    seconds = width.total_seconds()
    return _rfc3339(datetime.fromtimestamp(time // seconds * seconds, UTC))


def _later(time: str, by: timedelta) -> str:
    return _rfc3339(datetime.fromisoformat(time) + by)


def _rfc3339(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


ROUTES = [
    Route(f"{ACCOUNT_PATH}/billingUsage", billing_usage, methods=["GET"]),
    Route(f"{ACCOUNT_PATH}/billing/summary", billing_summary, methods=["GET"]),
    Route(f"{ACCOUNT_PATH}/usageCosts:query", query_usage_costs, methods=["POST"]),
    Route(f"{ACCOUNT_PATH}/quotas", quotas, methods=["GET"]),
    Route(f"{ACCOUNT_PATH}/serverlessRateLimits", serverless_rate_limits, methods=["GET"]),
]
