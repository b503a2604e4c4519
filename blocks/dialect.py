"""What an endpoint does not take of a request, learned from its refusals, so that a judge there can be asked.

Structured output with bounds, and a temperature, are asked for first. Some servers know no bounds in a schema, some
know JSON mode alone, or neither; models that think take no temperature and call max_tokens another name. Each change
that an answer may depend on goes with the answers that it was needed for.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blocks.errors import PlatformError, Refused

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """told: said of the answers; "" where it changes nothing about them. because: what a refusal says.

    apply: the changed parameters; None where there is nothing to change.
    """

    told: str
    because: re.Pattern[str]
    apply: Callable[[Params], Params | None]


def _unbounded(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _unbounded(value) for key, value in schema.items() if key not in ("maxLength", "maxItems")}
    return [_unbounded(each) for each in schema] if isinstance(schema, list) else schema


def _without_bounds(params: Params) -> Params | None:
    changed = {**params, "response_format": _unbounded(params.get("response_format"))}
    return changed if changed != {"response_format": None, **params} else None


def _json_mode(params: Params) -> Params | None:
    wanted = (params.get("response_format") or {}).get("type")
    return {**params, "response_format": {"type": "json_object"}} if wanted == "json_schema" else None


def _without(name: str) -> Callable[[Params], Params | None]:
    return lambda params: {k: v for k, v in params.items() if k != name} if name in params else None


def _completion_tokens(params: Params) -> Params | None:
    rest = _without("max_tokens")(params)
    return None if rest is None else {**rest, "max_completion_tokens": params["max_tokens"]}


_STRUCTURE = re.compile(
    r"response.?format|json.?schema|json.?object|maxLength|maxItems|structured|guided|grammar", re.IGNORECASE
)
WITHOUT_BOUNDS = Change("", _STRUCTURE, _without_bounds)
ALL_CHANGES = (
    Change("", re.compile("max_completion_tokens"), _completion_tokens),
    Change("without a temperature", re.compile("temperature"), _without("temperature")),
    WITHOUT_BOUNDS,
    Change("without a schema", _STRUCTURE, _json_mode),
    Change("without JSON mode, for JSON in words", _STRUCTURE, _without("response_format")),
)


class Dialect:
    """The changes, of those that may be made, that one model at one address needs."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes
        self._needed: list[Change] = []

    def put(self, params: Params) -> tuple[Params, str]:
        """The parameters as this endpoint takes them, as far as that is known, and what is to be said of it."""
        told: list[str] = []
        for change in [change for change in self._changes if change in self._needed]:
            if (changed := change.apply(params)) is not None:
                params = changed
                told.append(change.told)
        return params, ", ".join(filter(None, told))

    def learn(self, error: PlatformError | None, sent: Params) -> bool:
        """Whether the refusal says what to leave out of what was sent, so that it is worth another try."""
        if not isinstance(error, Refused):
            return False
        for change in self._changes:
            if change.because.search(str(error)) and change.apply(sent) is not None:
                if change not in self._needed:
                    self._needed.append(change)
                return True
        return False


_dialects: dict[tuple[str, ...], Dialect] = {}
_lock = threading.Lock()


def shared_dialect(*key: str, changes: Sequence[Change] = ALL_CHANGES) -> Dialect:
    """The dialect of an address and model, one in the process. Its changes are those of who asks first."""
    with _lock:
        return _dialects.setdefault(key, Dialect(changes))
