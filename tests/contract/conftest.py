"""The official Fireworks SDK, sync and async, and our client, all before the same local server."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fireworks import AsyncFireworks, Fireworks

from blocks.client import FireworksClient

TINY = "accounts/fireworks/models/tiny"
PAIR = {
    "input": {"messages": [{"role": "user", "content": "Name a colour."}]},
    "preferred_output": [{"role": "assistant", "content": "Blue."}],
    "non_preferred_output": [{"role": "assistant", "content": "No."}],
}


class Sdk:
    """Runs the same calls on either client: `sdk(lambda c: c.datasets.get("d"))`, `sdk.all(lambda c: ...list())`."""

    def __init__(self, kind: str, url: str) -> None:
        settings: dict[str, Any] = {"api_key": "k", "account_id": "local", "base_url": url, "max_retries": 0}
        self._loop = asyncio.new_event_loop()
        self._client = Fireworks(**settings) if kind == "sync" else AsyncFireworks(**settings)

    def __call__(self, call: Callable[[Any], Any]) -> Any:
        return self._run(lambda: call(self._client))

    def _run(self, make: Callable[[], Any]) -> Any:
        async def awaited() -> Any:
            made = make()
            return await made if inspect.isawaitable(made) else made

        return self._loop.run_until_complete(awaited())

    def all(self, call: Callable[[Any], Any]) -> list[Any]:
        """All items of all pages, by the SDK's own paging."""

        async def items() -> list[Any]:
            return [item async for item in call(self._client)]

        return list(call(self._client)) if isinstance(self._client, Fireworks) else self._run(items)

    def close(self) -> None:
        self._run(self._client.close)
        self._loop.close()


@pytest.fixture(params=["sync", "async"])
def sdk(request: pytest.FixtureRequest, local_server) -> Iterator[Sdk]:
    sdk = Sdk(request.param, local_server.url)
    yield sdk
    sdk.close()


@pytest.fixture
def client(local_server) -> Iterator[FireworksClient]:
    """Ours, which waits a hundredth of what it would: the server is on this machine and warm in a moment."""
    with FireworksClient(local_server.url, account="local", sleep=lambda s: time.sleep(s / 100)) as client:
        yield client


@pytest.fixture
def pairs_file(tmp_path: Path) -> Callable[..., Path]:
    """pairs_file(n, order="! steps=3"): n preference pairs; `order` is what the scripted training child does."""

    def write(n: int = 3, order: str | None = None, name: str = "pairs.jsonl") -> Path:
        row = json.loads(json.dumps(PAIR))
        if order:
            row["input"]["messages"][0]["content"] = order
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for _ in range(n)))
        return path

    return write


def until(read: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    """What `read` gives once it is done; the server's own work is waited for in short steps, a hang for two minutes."""
    for _ in range(6000):
        seen = read()
        if done(seen):
            return seen
        time.sleep(0.02)
    raise AssertionError(f"still {seen}")


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    return until
