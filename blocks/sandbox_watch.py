"""Watches what a program and all its children take together, which limits on each process cannot bound."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_LOOK_EVERY_S = 0.1
_MAX_FILES = 20_000
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Watch:
    """The bounds on the sum: memory of all processes, size of all files."""

    def __init__(self, scratch: str, limits: dict[str, Any]) -> None:
        self._scratch = Path(scratch)
        self._memory_bytes = limits["memory_mb"] << 20
        self._disk_bytes = limits["disk_mb"] << 20
        self._child = 0

    def until_end(self, child: int, *, program_is_below: bool) -> int:
        """Wait for the child, kill what it leaves, and give its exit status; past a bound, kill before that.

        program_is_below: whether the child only waits for the program, its one child.
        """
        self._child = child
        looks = 0
        while not (status := _ended(child)):
            looks += 1
            # ten looks a second at memory, two at the files: a look costs what there is to be seen
            self._kill_orphans(child)
            why = self._bound_memory(child, program_is_below)
            if not why and looks % 5 == 0:
                why = self._too_many_files()
            if why:
                print(f"ended by the sandbox: {why}", file=sys.stderr, flush=True)
                self.kill_all()
                return 137
            _wait(child, _LOOK_EVERY_S)
        self.kill_all()
        code = os.waitstatus_to_exitcode(status[0])
        return code if code >= 0 else 128 - code

    def kill_all(self) -> None:
        """Kill every descendant. They cannot get away: we are the parent of whoever loses its own.

        Without /proc, as on macOS, only the program's process group is known.
        """
        if self._child and not os.path.exists("/proc/self"):
            with suppress(OSError):
                os.killpg(self._child, signal.SIGKILL)
        while children := _descendants(os.getpid()):
            for process in children:
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            time.sleep(0.002)

    def _kill_orphans(self, child: int) -> None:
        """Kill what has lost its parent and become our child: rows that ended have left it behind.

        Where the program has a process namespace it is not us to whom they come, and nothing is done here.
        """
        while orphans := [process for process in _children(os.getpid()) if process != child]:
            for orphan in orphans:
                for process in (orphan, *_descendants(orphan)):
                    with suppress(OSError):
                        os.kill(process, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(orphan, os.WNOHANG)
            time.sleep(0.002)

    def _bound_memory(self, child: int, program_is_below: bool) -> str | None:
        """Kill the program's heaviest branches until the rest is within bounds; why where that is not enough."""
        everyone = [child, *_descendants(child)]
        if sum(map(_resident_bytes, everyone)) <= self._memory_bytes:
            return None
        # forks share pages, which the cheap count has once for each; the dear one divides them
        weights = {process: _proportional_bytes(process) for process in everyone}
        used = total = sum(weights.values())
        program = next(iter(_children(child)), child) if program_is_below else child
        branches = [[process, *_descendants(process)] for process in _children(program)]
        branches.sort(key=lambda branch: sum(weights.get(process, 0) for process in branch))
        while used > self._memory_bytes and branches:
            for process in branches.pop():
                used -= weights.get(process, 0)
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
        if used <= self._memory_bytes:
            return None
        return f"it uses {total >> 20} MB of memory, and {self._memory_bytes >> 20} are allowed"

    def _too_many_files(self) -> str | None:
        used = n_files = 0
        for folder, _, names in os.walk(self._scratch):
            for name in names:
                n_files += 1
                with suppress(OSError):
                    used += os.lstat(os.path.join(folder, name)).st_blocks * 512
            if used > self._disk_bytes or n_files > _MAX_FILES:
                return f"its files take more than {self._disk_bytes >> 20} MB, or are more than {_MAX_FILES}"
        return None


def _wait(child: int, seconds: float) -> None:
    """Until the child ends, or for as long."""
    if sys.platform != "linux":
        time.sleep(seconds)
        return
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(child)
        select.select([descriptor], [], [], seconds)
        os.close(descriptor)


def _ended(child: int) -> tuple[int] | None:
    """The child's wait status in a tuple once it has ended; other children that end are reaped on the way."""
    with suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == child:
                return (status,)
            if not process:
                return None
    return (0,)


def _children(process: int) -> list[int]:
    """The children of all of a process's threads; none where there is no /proc, or the process has ended."""
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{process}/task"):
            with suppress(OSError):
                found += map(int, Path(f"/proc/{process}/task/{task}/children").read_text().split())
    return found


def _descendants(process: int) -> list[int]:
    return [each for child in _children(process) for each in (child, *_descendants(child))]


def _resident_bytes(process: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def _proportional_bytes(process: int) -> int:
    """The process's share of memory; what it has resident where the kernel does not say the share."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return _resident_bytes(process)
