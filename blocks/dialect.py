"""What an OpenAI-compatible endpoint does not take, learned from its refusals, so that a judge there can be asked.

Structured output and a temperature are asked for first. Some servers know JSON mode alone, or neither; models that
think take no temperature and call max_tokens another name. Each change goes with the answers that it was needed for.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from blocks.bulk import ChatRequest
from blocks.errors import PlatformError, Refused

Params = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """told: said of the answers; "" where it changes nothing about them. because: what a refusal says."""

    told: str
    because: re.Pattern[str]
    applies: Callable[[Params], bool]
    apply: Callable[[Params], Params]


def _without(params: Params, name: str) -> Params:
    return {key: value for key, value in params.items() if key != name}


def _format(params: Params) -> str | None:
    return (params.get("response_format") or {}).get("type")


_STRUCTURE = re.compile(r"response.?format|json.?schema|json.?object|structured|guided|grammar", re.IGNORECASE)
CHANGES = (
    Change(
        "",
        re.compile("max_completion_tokens"),
        lambda params: "max_tokens" in params,
        lambda params: {**_without(params, "max_tokens"), "max_completion_tokens": params["max_tokens"]},
    ),
    Change(
        "without a temperature",
        re.compile("temperature"),
        lambda params: "temperature" in params,
        lambda params: _without(params, "temperature"),
    ),
    Change(
        "without a schema",
        _STRUCTURE,
        lambda params: _format(params) == "json_schema",
        lambda params: {**params, "response_format": {"type": "json_object"}},
    ),
    Change(
        "without JSON mode, for JSON in words",
        _STRUCTURE,
        lambda params: _format(params) == "json_object",
        lambda params: _without(params, "response_format"),
    ),
)


class Dialect:
    """The changes that one model at one address needs. Shared by all that is in flight there."""

    def __init__(self) -> None:
        self._needed: list[Change] = []

    def put(self, request: ChatRequest) -> ChatRequest:
        """The request as this endpoint takes it, as far as that is known."""
        params: Params = dict(request.params)
        told: list[str] = []
        for change in (change for change in CHANGES if change in self._needed):
            if change.applies(params):
                params = change.apply(params)
                told.append(change.told)
        return replace(request, params=params, adapted=", ".join(filter(None, told)))

    def learn(self, error: PlatformError | None, sent: ChatRequest) -> bool:
        """Whether the refusal says what to leave out of what was sent, so that it is worth another try."""
        if not isinstance(error, Refused):
            return False
        for change in CHANGES:
            if change.because.search(str(error)) and change.applies(dict(sent.params)):
                if change not in self._needed:
                    self._needed.append(change)
                return True
        return False


_dialects: dict[tuple[str, ...], Dialect] = {}
_lock = threading.Lock()


def shared_dialect(*key: str) -> Dialect:
    """The dialect of an address and model, one in the process."""
    with _lock:
        return _dialects.setdefault(key, Dialect())
