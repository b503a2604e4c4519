"""The generation child: one process that answers for every model served here, many requests in flight.

It is started by the first need and stopped when nothing is deployed. When it dies, what was in flight fails and every
deployment is cold again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from local_server.children import Child
from local_server.config import Settings
from local_server.errors import ApiError
from local_server.training.environment import child_environment

logger = logging.getLogger("local_server")

Message = dict[str, Any]


class Generator:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._child: Child | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._answers: dict[str, tuple[Child, asyncio.Queue[Message]]] = {}
        self._ids = itertools.count(1)
        self.on_death: Callable[[], None] = lambda: None

    @property
    def in_flight(self) -> int:
        return len(self._answers)

    async def answer(self, request: Message) -> Message:
        """The child's whole answer: choices and usage. Raises ApiError."""
        async for message in self.stream(request):
            if "choices" in message:
                return message
        raise ApiError("INTERNAL", "the generation process ended its answer early")

    async def stream(self, request: Message) -> AsyncIterator[Message]:
        """Deltas, if asked for, then the whole answer. Leaving early cancels the request in the child."""
        child = await self._running_child()
        id = f"r{next(self._ids)}"
        queue: asyncio.Queue[Message] = asyncio.Queue()
        self._answers[id] = child, queue
        finished = False
        try:
            await child.send({**request, "id": id})
            while not finished:
                message = await queue.get()
                finished = "choices" in message or "error" in message
                if "error" in message:
                    raise _error(message["error"])
                yield message
        finally:
            del self._answers[id]
            if not finished and child.alive:
                await child.send({"cancel": id})

    async def stop(self) -> None:
        async with self._starting:
            child, self._child = self._child, None
            if child:
                await child.stop()
            if self._reader:
                await asyncio.wait([self._reader])

    async def _running_child(self) -> Child:
        async with self._starting:
            if self._child is None or not self._child.alive:
                self._child = await Child.start(
                    self._settings.generation_command,
                    self._settings.home / "children",
                    environment=child_environment(),
                )
                self._child.write_log = _log_to(self._settings.home / "generation.log")
                self._reader = asyncio.create_task(self._read(self._child))
            return self._child

    async def _read(self, child: Child) -> None:
        async for message in child.messages():
            if waiting := self._answers.get(str(message.get("id"))):
                waiting[1].put_nowait(message)
        unasked = self._child is child  # nobody asked it to stop
        if unasked:
            self._child = None
        self.on_death()
        reason = await child.why_it_ended()
        if unasked:
            logger.error("the generation process is gone: %s", reason)
        error = {"code": "INTERNAL", "message": f"the generation process is gone: {reason}"}
        if not unasked:
            error = {"code": "UNAVAILABLE", "message": "the server is stopping"}
        for owner, queue in self._answers.values():
            if owner is child:
                queue.put_nowait({"error": error})


def _error(error: Any) -> ApiError:
    if not isinstance(error, dict):
        return ApiError("INTERNAL", str(error))
    return ApiError(str(error.get("code", "INTERNAL")), str(error.get("message", "")), param=error.get("param"))


def _log_to(path: Path) -> Callable[[bytes], object]:
    """Appends; a file of more than 10 MB is begun anew."""

    def write(block: bytes) -> None:
        with contextlib.suppress(OSError):
            large = path.exists() and path.stat().st_size > 10 << 20
            with path.open("wb" if large else "ab") as file:
                file.write(block)

    return write
