"""A session's identity, its states, and the names of what it makes on the platform."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import BaseModel

from preference.settings import PreferenceRequest
from preference.wire import is_resource_id

_SESSION_ID = re.compile(r"[0-9]+-[0-9a-f]{4}")


class SessionState(StrEnum):
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    PROMOTED = "promoted"
    NOT_PROMOTED = "not_promoted"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    OUT_OF_BUDGET = "out_of_budget"
    CANCELLED = "cancelled"
    FAILED = "failed"


def session_id(unix_seconds: float, suffix: str) -> str:
    """<unix seconds>-<4 hex>, such as 1779157376-41e1. The first 4 of suffix count."""
    made = f"{int(unix_seconds)}-{suffix[:4].lower()}"
    if not is_session_id(made):
        raise ValueError(f"no session ID can be made of {unix_seconds!r} and {suffix!r}")
    return made


def is_session_id(text: str) -> bool:
    return _SESSION_ID.fullmatch(text) is not None


def resource(session: str, role: str) -> str:
    """The ID of what a session makes on the platform: pw-<session>-<role>, at most 63 characters."""
    name = f"pw-{session}-{role}"
    if not is_resource_id(name):
        raise ValueError(f"{name!r} cannot be a resource's ID: 1 to 63 of a-z 0-9 -, a letter first")
    return name


class SessionRecord(BaseModel):
    """What session.json says: where a session stands, or how it ended."""

    session: str
    state: SessionState = SessionState.RUNNING
    outcome: Outcome | None = None
    message: str = ""
    flow_run: str | None = None  # the last flow run that worked on it
    request: PreferenceRequest
