"""Starts a program that is not trusted, with bounds, and takes back the JSON lines that it sends."""

from __future__ import annotations

import functools
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

CHANNEL = "SANDBOX_CHANNEL"  # the variable that names the descriptor for JSON lines
KEPT_OUTPUT_BYTES = 8000
_REFUSED = (
    "this system cannot isolate a program that is not trusted ({}). Run it on Linux with user namespaces or with "
    "Landlock 6 (kernel 6.12), install bubblewrap, or accept that it runs unsandboxed."
)
_KILL_PATIENCE_S = 10.0

_ROOT = Path(__file__).resolve().parent.parent
_LAUNCH = f"import sys; sys.path.insert(0, {str(_ROOT)!r}); from blocks.sandbox_launch import main; main()"


class SandboxRefused(Exception):
    """This system does not allow the isolation that was asked for, so nothing was started."""


@dataclass(frozen=True)
class Limits:
    """What an evaluator may use. Sources: Azure's code graders have 2 minutes, 2 GB, 1 GB disk, no network."""

    row_wall_s: float = 60.0
    row_cpu_s: float = 60.0
    import_wall_s: float = 180.0  # loading the evaluator, its libraries and models
    total_wall_s: float = 3600.0
    memory_mb: int = 2048
    file_mb: int = 64  # each file that it writes
    disk_mb: int = 256  # all files in its scratch folder
    n_processes: int = 64  # threads count, too
    n_open_files: int = 256
    output_kb: int = 1024  # printed while it is loaded, and for each row
    concurrency: int = 2  # rows at once
    network: bool = False
    unsandboxed: bool = False  # only ever set by a person who was asked


@dataclass(frozen=True)
class Program:
    """What to start, and all that it gets: paths to read and execute, an empty folder, an environment.

    scratch is held to disk_mb and its content may be gone with the program; what is to stay goes into `kept`.
    ours is a folder of the caller's that is removed should the caller be killed.
    """

    argv: list[str]
    readable: list[Path]
    scratch: Path
    cwd: Path
    environment: dict[str, str] = field(default_factory=dict)
    kept: list[Path] = field(default_factory=list)
    ours: Path | None = None


@dataclass
class Ended:
    """How a program came to its end, and the last of what it printed."""

    status: int
    printed: str
    why: str | None = None  # set where we ended it


class Sandbox:
    """One running program, which ends with this object. Read `messages()` first, then how it `ended`."""

    def __init__(self, program: Program, limits: Limits, stdin: IO[bytes]) -> None:
        self._limits = limits
        channel, theirs = os.pipe()
        spec = {
            "argv": program.argv,
            "readable": [str(path) for path in program.readable],
            "scratch": str(program.scratch),
            "cwd": str(program.cwd),
            "environment": {**program.environment, CHANNEL: str(theirs)},
            "kept": [str(path) for path in program.kept],
            "ours": str(program.ours) if program.ours else None,
            "bubblewrap": shutil.which("bwrap"),
            "channel": theirs,
            "launch": _LAUNCH,
            "parent": os.getpid(),
            "limits": asdict(limits),
        }
        reading, writing = os.pipe()
        os.write(writing, json.dumps(spec).encode())  # a few kilobytes, which a pipe holds
        os.close(writing)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCH, str(reading)],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs, reading],
                start_new_session=True,
                env={},
            )
        finally:
            os.close(theirs)
            os.close(reading)
        self._channel = channel
        self._printed = bytearray()
        self.ended: Ended | None = None

    def messages(self, overdue: Callable[[float], str | None], *, max_bytes: int) -> Iterator[dict[str, Any]]:
        """Yield each JSON object that the program sends, until it ends, is overdue, or has sent max_bytes.

        overdue: from seconds since the start to the reason for ending the program, or None.
        Raises SandboxRefused where the program was not started.
        """
        started = time.monotonic()
        why = None
        lines = bytearray()
        n_bytes = n_printed = 0
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ)
            selector.register(self._process.stdout, selectors.EVENT_READ)
            # the channel's end is the program's end: a child left behind may hold its standard output open
            while why is None:
                why = overdue(time.monotonic() - started)
                for key, _ in selector.select(0.2):
                    chunk = os.read(key.fd, 1 << 16)
                    if key.fd != self._channel:
                        self._keep(chunk)
                        n_printed += len(chunk)
                        if n_printed > self._limits.output_kb << 10:
                            why = f"it printed more than {self._limits.output_kb} kB"
                        if not chunk:
                            selector.unregister(key.fileobj)
                        continue
                    if not chunk:
                        break
                    lines += chunk
                    n_bytes += len(chunk)
                    *whole, rest = lines.split(b"\n")
                    lines = rest
                    for message in map(_parse, map(bytes, whole)):
                        if "refused" in message:
                            raise SandboxRefused(_REFUSED.format(message["refused"]))
                        yield message
                    if n_bytes > max_bytes:
                        why = "it sent more than results can be"
                else:
                    continue
                break
        self._end(why)

    def _keep(self, chunk: bytes) -> None:
        self._printed += chunk
        del self._printed[:-KEPT_OUTPUT_BYTES]

    def _end(self, why: str | None) -> None:
        if why is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        self.close()
        self.ended = Ended(self._process.returncode, self._printed.decode(errors="replace").strip(), why)

    def close(self) -> None:
        """Kill the program with all that it started; nothing happens the second time."""
        if self._channel < 0:
            return
        self._process.terminate()  # it kills all that it started before it ends
        try:
            self._process.wait(_KILL_PATIENCE_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        with suppress(OSError, ValueError):
            self._keep(self._process.stdout.read() or b"")
        self._process.stdout.close()
        os.close(self._channel)
        self._channel = -1

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parse(line: bytes) -> dict[str, Any]:
    """A line as an object; what is not one is a message that says nothing."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def isolation() -> str:
    """How programs are isolated here: "namespaces", "bubblewrap" or "landlock"; SandboxRefused where they cannot be."""
    way, why_not = _tried()
    if not way:
        raise SandboxRefused(why_not)
    return way


def why_not_sandboxed() -> str | None:
    """Why this system cannot isolate a program, None where it can: what a person is asked to accept."""
    way, why_not = _tried()
    return None if way else why_not


@functools.cache
def _tried() -> tuple[str, str]:
    """The way that a program which does nothing goes here, and why it goes none."""
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
        Path(folder).chmod(0o755)
        scratch = Path(folder, "scratch")
        scratch.mkdir()
        argv = [str(standard_python()), "-I", "-S", "-c", "pass"]
        program = Program(argv, [Path(sys.base_prefix)], scratch, cwd=Path("/usr"))
        with open(os.devnull, "rb") as nothing, Sandbox(program, Limits(), nothing) as sandbox:
            try:
                for message in sandbox.messages(lambda seconds: "late" if seconds > 60 else None, max_bytes=1 << 16):
                    if "isolation" in message:
                        return str(message["isolation"]), ""
            except SandboxRefused as refused:
                return "", str(refused)
            return "", "nothing could be started at all"


def standard_python() -> Path:
    """The interpreter itself, outside of any environment: started with -I -S it has the standard library only."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
