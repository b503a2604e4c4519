"""Lists: pageSize, pageToken, filter (the part of AIP-160 that clients send) and orderBy. readMask is ignored."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from local_server.errors import invalid

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 200  # more is coerced, not refused

_TERM = re.compile(r"""\s*([A-Za-z_][\w.]*)\s*(!=|<=|>=|=|<|>|:)\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^\s()"']+)\s*""")
_AND = re.compile(r"AND\b\s*", re.IGNORECASE)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def page(items: list[dict[str, Any]], collection: str, query: Mapping[str, str]) -> dict[str, Any]:
    """One page of items, {collection: [...], nextPageToken, totalSize}. Raises INVALID_ARGUMENT."""
    wanted = parse_filter(query.get("filter", ""))
    found = _ordered([item for item in items if wanted(item)], query.get("orderBy", ""))
    size = _page_size(query.get("pageSize"))
    digest = hashlib.sha256(f"{query.get('filter', '')}\n{query.get('orderBy', '')}".encode()).hexdigest()[:16]
    start = _start(found, query.get("pageToken", ""), digest)
    shown = found[start : start + size]
    more = start + size < len(found)
    token = _token({"at": start + size, "after": shown[-1]["name"], "query": digest}) if more else ""
    return {collection: shown, "nextPageToken": token, "totalSize": len(found)}


def parse_filter(text: str) -> Callable[[dict[str, Any]], bool]:
    """Terms joined by AND: state="READY" AND createTime>"2026-01-01T00:00:00Z". `:` is "has", here "contains"."""
    terms = []
    rest = text.strip()
    while rest:
        match = _TERM.match(rest)
        if match is None:
            raise invalid(f'filter {text!r} is not understood at {rest!r}; write terms such as state="READY" AND ...')
        terms.append(_term(match[1], match[2], match[3].strip("\"'")))
        rest = rest[match.end() :]
        if rest:
            joint = _AND.match(rest)
            if joint is None:
                raise invalid(f"filter {text!r} is not understood at {rest!r}; only AND joins terms here")
            rest = rest[joint.end() :]
            if not rest:
                raise invalid(f"filter {text!r} ends in AND")
    return lambda item: all(term(item) for term in terms)


def _term(field: str, symbol: str, wanted: str) -> Callable[[dict[str, Any]], bool]:
    def holds(item: dict[str, Any]) -> bool:
        found: Any = item
        for part in _camel(field).split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if symbol == ":":
            return found is not None and (wanted == "*" or wanted.lower() in str(found).lower())
        if found is None:
            return symbol == "!="
        return _OPERATORS[symbol](*_comparable(found, wanted))

    return holds


def _camel(field: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), field)


def _comparable(found: Any, wanted: str) -> tuple[Any, Any]:
    """Both as booleans, numbers, times or text, whichever both are."""
    if isinstance(found, bool):
        return found, wanted.lower() == "true"
    for read in (float, _time):
        try:
            return read(str(found)), read(wanted)
        except ValueError:
            continue
    return str(found), wanted


def _time(text: str) -> datetime:
    """UTC where no zone is said, so that any two can be compared."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _ordered(items: list[dict[str, Any]], order_by: str) -> list[dict[str, Any]]:
    """By the fields of `order_by` ("createTime desc,name"), then by name."""
    items = sorted(items, key=lambda item: item["name"])
    for clause in reversed([part.split() for part in order_by.split(",") if part.strip()]):
        if len(clause) > 2 or (len(clause) == 2 and clause[1].lower() not in ("asc", "desc")):
            raise invalid(f"orderBy {order_by!r} is not understood; write fields such as createTime desc")
        key = _camel(clause[0])
        items.sort(key=lambda item: str(item.get(key, "")), reverse=clause[-1].lower() == "desc")
    return items


def _page_size(text: str | None) -> int:
    try:
        size = int(text or 0)
    except ValueError:
        raise invalid(f"pageSize must be a number, found {text!r}") from None
    if size < 0:
        raise invalid("pageSize must not be negative")
    return min(size, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


def _token(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


def _start(found: list[dict[str, Any]], token: str, digest: str) -> int:
    """Where the page begins: after the last item shown, or at its old place if that has been deleted."""
    if not token:
        return 0
    try:
        content = json.loads(base64.urlsafe_b64decode(token))
        at, after, query = int(content["at"]), content["after"], content["query"]
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise invalid("pageToken is not one of this server's") from None
    if query != digest:
        raise invalid("pageToken belongs to another filter or orderBy; keep them the same between pages")
    return next((i + 1 for i, item in enumerate(found) if item["name"] == after), at)
