"""What was used, what it cost, and what the account may still do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from blocks.client_base import ClientBase, filled


class Billing(ClientBase):
    def billing_usage(
        self, start: datetime, end: datetime, *, usage_type: str | None = None, **query: Any
    ) -> dict[str, Any]:
        """GET billingUsage: metered quantities (tokens, accelerator-seconds), no prices.

        usage_type: SERVERLESS, DEDICATED_DEPLOYMENT or TRAINING; times are aware.
        """
        params = {
            "startTime": _rfc3339(start),
            "endTime": _rfc3339(end),
            "usageType": usage_type,
            **query,
        }
        answer: dict[str, Any] = self._connection.send("GET", self._collection("billingUsage"), params=filled(params))
        return answer

    def billing_summary(self, start: datetime, end: datetime, *, daily: bool = False) -> dict[str, Any]:
        """GET billing/summary: rated line items by category, at most 31 days."""
        params = {
            "startTime": _rfc3339(start),
            "endTime": _rfc3339(end),
            "granularity": "DAILY" if daily else None,
        }
        answer: dict[str, Any] = self._connection.send(
            "GET", self._collection("billing/summary"), params=filled(params)
        )
        return answer

    def usage_costs(
        self, start: datetime, end: datetime, *, group_by: tuple[str, ...] = ("MODEL",), scope: str = "SELF"
    ) -> list[dict[str, Any]]:
        """POST usageCosts:query, all pages: rated costs by at most two of HOUR, DAY, MODEL, USER, API_KEY.

        Scope ACCOUNT needs an admin. It lags behind by a day or more. `money_usd` reads a row's subtotal.
        """
        body = {
            "startTime": _rfc3339(start),
            "endTime": _rfc3339(end),
            "groupBy": list(group_by),
            "scope": scope,
        }
        return list(self._cost_rows(body))

    def _cost_rows(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        while True:
            page = self._connection.send("POST", self._collection("usageCosts:query"), json=body, repeatable=True)
            yield from page.get("rows") or []
            if not page.get("nextPageToken") or page["nextPageToken"] == body.get("pageToken"):
                return
            body = {**body, "pageToken": page["nextPageToken"]}

    def list_quotas(self) -> list[dict[str, Any]]:
        """GET quotas: what the account may use, and uses."""
        return list(self._pages(self._collection("quotas"), "quotas"))

    def serverless_rate_limits(self, **query: Any) -> list[dict[str, Any]]:
        """GET serverlessRateLimits: the adaptive limits of each model now."""
        answer = self._connection.send("GET", self._collection("serverlessRateLimits"), params=filled(query))
        return list(answer.get("rateLimits") or [])


def money_usd(money: dict[str, Any] | None) -> float | None:
    """A google.type.Money in dollars; None where there is none, or it is another currency."""
    if not money or money.get("currencyCode", "USD") != "USD":
        return None
    return float(Decimal(str(money.get("units") or 0)) + Decimal(int(money.get("nanos") or 0)) / 10**9)


def _rfc3339(time: datetime) -> str:
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone: the bill would be for another hour.")
    return time.isoformat().replace("+00:00", "Z")
