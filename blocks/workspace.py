"""The session's folder: everything that a run knows, so that a run that died goes on from it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from preference.session import is_session_id

M = TypeVar("M", bound=BaseModel)

NEEDED_MB = 500  # data, answers, a report; and, with a local server, the trials' adapters and checkpoints
FULL_MB = 20  # so little is a full disk


class SessionBusy(RuntimeError):
    """Another process is working on this session."""


class NoSuchSession(ValueError):
    """There is no folder for this session."""


class Holder(BaseModel):
    """Who works on a session. pid 0: not known."""

    pid: int
    host: str

    @property
    def is_here(self) -> bool:
        return self.pid > 0 and self.host == socket.gethostname()


def prefworks_home() -> Path:
    """Where sessions and servers keep their files: $PREFWORKS_HOME, else .prefworks in the current folder."""
    return Path(os.environ.get("PREFWORKS_HOME") or ".prefworks").resolve()


def space_trouble(least_mb: int) -> str | None:
    """What is wrong with the space where our files go, and what to do; None where at least least_mb (MB) are free."""
    home = prefworks_home()
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free_mb = shutil.disk_usage(there).free // 1_000_000
    if free_mb >= least_mb:
        return None
    return (
        f"no space left: {free_mb} MB are free in {home}, and {least_mb} MB are needed. Make room, or set "
        "PREFWORKS_HOME to a folder with more."
    )


class Workspace:
    """One session's folder. Files appear whole or not at all."""

    def __init__(self, session: str, home: Path | None = None) -> None:
        if not is_session_id(session):
            raise ValueError(f"{session!r} is not a session ID: <unix seconds>-<4 hex> is wanted")
        self.session = session
        self.folder = (home or prefworks_home()) / "sessions" / session

    def path(self, *parts: str) -> Path:
        """A path inside the folder; its parent exists afterwards."""
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def directory(self, *parts: str) -> Path:
        """A folder inside the folder, there afterwards."""
        path = self.folder.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the session for this process; the system lets go of it however the process ends."""
        with self.path("lock").open("a+") as handle:  # not "w": the holder's name stays there for others
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SessionBusy(
                    f"session {self.session} is being worked on by another process. "
                    "Wait for it, or cancel its run first."
                ) from None
            handle.truncate(0)
            handle.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
            handle.flush()
            yield

    def holder(self) -> Holder | None:
        """The process that works on the session now; None where there is none on this machine."""
        try:
            with self.folder.joinpath("lock").open() as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
        except FileNotFoundError:
            return None
        except OSError:
            try:
                return Holder.model_validate_json(self.folder.joinpath("lock").read_bytes())
            except ValidationError:  # it has only just begun
                return Holder(pid=0, host="")

    def write_text(self, name: str, text: str) -> Path:
        return self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, data: bytes) -> Path:
        path = self.path(name)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        return path

    def write(self, name: str, value: BaseModel | dict[str, Any] | list[Any]) -> Path:
        data = value.model_dump(mode="json", by_alias=True) if isinstance(value, BaseModel) else value
        return self.write_text(name, json.dumps(data, indent=1, ensure_ascii=False) + "\n")

    def read(self, name: str, model: type[M]) -> M | None:
        """The file as that model; None where it has not been written."""
        try:
            return model.model_validate_json(self.folder.joinpath(name).read_bytes())
        except FileNotFoundError:
            return None

    def read_json(self, name: str) -> Any:
        """The file's JSON; None where it has not been written."""
        try:
            return json.loads(self.folder.joinpath(name).read_bytes())
        except FileNotFoundError:
            return None

    def append(self, name: str, record: dict[str, Any]) -> None:
        """One more line of a .jsonl file, with the time it was written; on disk when this returns.

        A last line that a crash cut short is ended first, so that it does not take this one with it.
        """
        line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds"), **record}, ensure_ascii=False)
        with self.path(name).open("ab+") as file:
            cut_short = file.tell() > 0 and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
            file.write(("\n" if cut_short else "").encode() + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The lines of a .jsonl file; a last line that a crash cut short is left out."""
        try:
            text = self.folder.joinpath(name).read_text("utf-8")
        except FileNotFoundError:
            return []
        records = []
        for line in text.splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return records
