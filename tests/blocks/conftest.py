"""A platform that answers from a script, over httpx's own seam for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from blocks.client import FireworksClient

KEY = "fw_Sv9qTzNeverToBeSeen"


class Script:
    """Answers by (method, path); a list is answered in turn, its last for ever; an exception is raised."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.get(f"{request.method} {request.url.path}")
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            return httpx.Response(404, json={"code": 5, "message": f"no such thing: {request.url.path}"})
        if not isinstance(answer, httpx.Response):
            answer = httpx.Response(200, json=answer)
        # unread, as from a network
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content))

    def sent(self) -> list[str]:
        return [f"{r.method} {r.url.path}" for r in self.requests]


@pytest.fixture
def scripted() -> Callable[..., tuple[FireworksClient, Script]]:
    """A client of a scripted platform, and the script; time passes only as the client sleeps."""
    clients: list[FireworksClient] = []

    def make(answers: dict[str, Any], **settings: Any) -> tuple[FireworksClient, Script]:
        script = Script(answers)
        client = FireworksClient(
            **{"base_url": "https://api.example", "api_key": KEY, "account": "acme", **settings},
            transport=httpx.MockTransport(script),
            sleep=script.slept.append,
            clock=lambda: sum(script.slept),
        )
        clients.append(client)
        return client, script

    yield make
    for client in clients:
        client.close()
