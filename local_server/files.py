"""Bytes from clients: streamed to disk under a bound, and in their place only when complete."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from local_server.errors import ApiError, invalid


class TooLarge(Exception):
    """More bytes than were allowed."""


class Incoming:
    """The folder of uploads under way. What a crash left there is dropped at the next start."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "incoming"
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)

    def new_file(self) -> Path:
        return self._folder / uuid.uuid4().hex

    async def receive(self, stream: AsyncIterator[bytes], *, at_most: int) -> Path:
        """The stream as a file; nothing is left if it breaks off. Raises TooLarge."""
        path, size = self.new_file(), 0
        try:
            with path.open("wb") as file:
                async for block in stream:
                    size += len(block)
                    if size > at_most:
                        raise TooLarge
                    write(file.fileno(), block)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path


def write(descriptor: int, block: bytes) -> None:
    """All of block. Raises RESOURCE_EXHAUSTED if the disk is full."""
    view = memoryview(block)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        raise ApiError(
            "RESOURCE_EXHAUSTED", f"the server could not store the upload: {error.strerror}", status=507
        ) from None


def safe_name(name: str) -> str:
    """A file's name, checked: no folder, nothing hidden. Raises INVALID_ARGUMENT."""
    if not name or len(name) > 255 or name.startswith(".") or any(c in "/\\" or ord(c) < 32 for c in name):
        raise invalid(f"{name!r} cannot be a file's name here; use a plain name without folders, such as train.jsonl")
    return name
