"""Whose answers the demo from prompts learns from: the model that the ordinary demo tuned and deployed."""

from __future__ import annotations

import time
from pathlib import Path

from blocks.errors import NotFound
from blocks.workspace import Workspace
from flows.requesting import read_request
from flows.sessions import load_platform
from preference.session import SessionRecord, session_id
from tasks.champion import last_promoted


def find_strong(request_file: Path) -> str | None:
    """The model that the last session with this request's dataset deployed, by full name.

    None where no session did, or where the platform does not have the model any more.
    """
    request = read_request(request_file)
    found = last_promoted(Workspace(session_id(time.time(), "0000")), request)  # a session that is none of these
    if found is None:
        return None
    with load_platform(request.platform).get_client() as client:
        try:
            return client.get_model(found[1]).name
        except NotFound:
            return None


def strong_of(session: str) -> str | None:
    """The strong model that a session was begun with; None where there is no such session."""
    record = Workspace(session).read("session.json", SessionRecord) if session else None
    return record.request.pairs.strong or None if record else None
