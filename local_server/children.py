"""Child processes that speak JSON lines: started, watched, stopped, and never left behind.

A child dies with the server (launch.py). Its pid and start time are also written down, so that the next server on the
same folder ends what a system without PR_SET_PDEATHSIG has left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger("local_server")

_LAUNCH = Path(__file__).with_name("launch.py")
_LINE_LIMIT = 64 << 20  # bytes of one JSON line
_MEMORY_POLL_S = 0.5


class Child:
    def __init__(self, process: asyncio.subprocess.Process, registry: Path, memory_limit: int | None) -> None:
        self._process = process
        self._mark = registry / str(process.pid)
        self._memory_limit = memory_limit
        self._killed_because: str | None = None
        self._last_words: deque[str] = deque(maxlen=20)
        self.write_log: Callable[[bytes], object] = lambda _: None  # where standard error goes just now
        self._tasks = [asyncio.create_task(self._pump_errors()), asyncio.create_task(self._watch_memory())]

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        registry: Path,
        *,
        environment: Mapping[str, str],
        memory_limit: int | None = None,
    ) -> Child:
        """registry: a folder in which running children are written down. environment: the whole of it.

        memory_limit: bytes resident, above which the child is ended.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
            env=environment,
            start_new_session=True,  # a group of its own, ended whole; Ctrl-C at the terminal reaches the server alone
        )
        registry.mkdir(parents=True, exist_ok=True)
        (registry / str(process.pid)).write_text(_start_time(process.pid) or "")
        return cls(process, registry, memory_limit)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def send(self, message: dict[str, Any]) -> None:
        """One line to the child. A child that has died is not an error here: its output ends."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            await self._process.stdin.drain()

    async def receive(self) -> dict[str, Any] | None:
        """The child's next message; None when it has ended. Lines that are not JSON objects go to the log."""
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # longer than the limit
                self.kill(f"it wrote a line of more than {_LINE_LIMIT >> 20} MB")
                continue
            if not line:
                await self._process.wait()
                return None
            with contextlib.suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict):
                    return message
            self.write_log(line)

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        while (message := await self.receive()) is not None:
            yield message

    def kill(self, because: str) -> None:
        self._killed_because = self._killed_because or because
        self._signal(signal.SIGKILL)

    async def stop(self, grace_s: float = 2) -> None:
        """SIGTERM, and SIGKILL to the whole group when the grace is over."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), grace_s)
        self._signal(signal.SIGKILL)
        await self._process.wait()
        await self._forget()

    async def why_it_ended(self) -> str:
        """For people: how the child ended and the last thing that it said."""
        await self._process.wait()
        await self._forget()
        code = self._process.returncode or 0
        if self._killed_because:
            how = f"it was ended: {self._killed_because}"
        elif code == -signal.SIGKILL:
            how = "the system killed it, most likely because memory ran out; lower the batch size or the context length"
        elif code < 0:
            how = f"it died of {signal.Signals(-code).name}"
        else:
            how = f"it ended with exit code {code}"
        return f"{how}. Its last words: {self._last_words[-1]}" if self._last_words else how

    def _signal(self, number: signal.Signals) -> None:
        # the group first: it may hold processes of the child's own, even after the child has died
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _forget(self) -> None:
        self._signal(signal.SIGKILL)
        for task in self._tasks:
            if task is not asyncio.current_task():
                with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                    await asyncio.wait_for(asyncio.shield(task), 1)
                task.cancel()
        self._mark.unlink(missing_ok=True)

    async def _pump_errors(self) -> None:
        assert self._process.stderr is not None
        while block := await self._process.stderr.read(1 << 16):
            self.write_log(block)
            lines = block.decode(errors="replace").splitlines()
            self._last_words.extend(line.strip()[:500] for line in lines if line.strip())

    async def _watch_memory(self) -> None:
        while self.alive and self._memory_limit:
            if (resident := resident_bytes(self.pid)) > self._memory_limit:
                self.kill(
                    f"out of memory: it held {resident / 1e9:.1f} GB and may hold {self._memory_limit / 1e9:.1f} GB; "
                    "lower the batch size or the context length, or raise --job-memory-gb"
                )
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _MEMORY_POLL_S)


def resident_bytes(pid: int) -> int:
    """Memory that a process holds; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def end_orphans(registry: Path) -> int:
    """End the children that a server before this one has left; how many there were."""
    count = 0
    for mark in registry.glob("*"):
        # a pid may belong to somebody else by now: only the same start time is the same process
        if mark.name.isdigit() and (started := _start_time(int(mark.name))) and started == mark.read_text():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(mark.name), signal.SIGKILL)
                count += 1
        mark.unlink(missing_ok=True)
    if count:
        logger.warning("ended %d child processes of an earlier server", count)
    return count


def _start_time(pid: int) -> str | None:
    """Clock ticks from boot to the process's start, which tells apart processes that had the same pid."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return None
