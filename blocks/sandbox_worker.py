"""A fork of the loaded evaluator that scores one unit of rows, and what its parent knows of it.

Runs inside the sandbox, beside sandbox_harness, and imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

MAX_RESULT_BYTES = 1 << 17  # a row's outcome as its fork sends it
KEPT_OUTPUT_BYTES = 2000  # of what a unit printed, for the message about its failure

Json = dict[str, Any]

# bound before the evaluator is imported, which may replace json.dumps and os.write, but not these
_dumps, _loads, _write, _read = json.dumps, json.loads, os.write, os.read
_SOURCE = os.path.join(os.getcwd(), "")  # where the evaluator's code is
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Worker:
    """A fork that scores one unit of rows."""

    def __init__(
        self, score: Callable[[], list[Json]], indices: list[int], limits: Json, not_its_own: Sequence[int]
    ) -> None:
        """score: the outcomes of the unit, called in the fork. not_its_own: descriptors that it must not have."""
        self.indices = indices
        self.limits = limits
        self.deadline = time.monotonic() + limits["row_wall_s"] * len(indices)
        self.received, self.printed, self.n_printed = bytearray(), b"", 0
        self.results, results_end = os.pipe()
        self.output, output_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            self.pid = os.fork()
        except OSError:
            for descriptor in (self.results, results_end, self.output, output_end):
                os.close(descriptor)
            raise
        if self.pid == 0:
            try:
                for descriptor in (*not_its_own, self.results, self.output):
                    os.close(descriptor)
                self._score(score, results_end, output_end)
            finally:
                os._exit(1)
        os.close(results_end)
        os.close(output_end)
        os.set_blocking(self.results, False)
        os.set_blocking(self.output, False)

    def _score(self, score: Callable[[], list[Json]], results_end: int, output_end: int) -> NoReturn:
        os.setsid()
        for descriptor in (1, 2):
            os.dup2(output_end, descriptor)
        os.close(output_end)
        _keep_signals_in()
        seconds = int(self.limits["row_cpu_s"] * len(self.indices)) + 1
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        if hard == resource.RLIM_INFINITY or seconds < hard:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        try:
            outcomes = score()
        except BaseException as error:  # SystemExit, too, is only this unit's failure
            outcomes = [{"error": one_line(error)}] * len(self.indices)
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # the evaluator has closed them
        send(results_end, {"outcomes": outcomes})
        os._exit(0)

    def look(self, endings: dict[int, int]) -> list[Json] | None:
        """The outcomes once they are known, None before that. endings: wait statuses by process ID."""
        ended = endings.pop(self.pid, None)
        if not self._drain():
            return self._failed(f"printed more than {self.limits['output_kb']} kB")
        while chunk := _take(self.results):
            self.received += chunk
            if len(self.received) > MAX_RESULT_BYTES * len(self.indices):
                return self._failed("returned more than can be a score")
        if self.received.endswith(b"\n"):
            return self._parsed()
        if ended is not None:
            self.pid = 0
            return self._failed(_ending(ended))
        if time.monotonic() > self.deadline:
            return self._failed(f"took longer than {self.limits['row_wall_s'] * len(self.indices):g} s")
        return None

    def _drain(self) -> bool:
        while chunk := _take(self.output):
            self.n_printed += len(chunk)
            self.printed = (self.printed + chunk)[-KEPT_OUTPUT_BYTES:]
            if self.n_printed > self.limits["output_kb"] * 1024:
                return False
        return True

    def _parsed(self) -> list[Json]:
        try:
            outcomes = [_flat(outcome) for outcome in _loads(self.received)["outcomes"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError):
            outcomes = []  # a row's code may have written anything here
        if len(outcomes) != len(self.indices):
            return self._failed("sent back what cannot be read")
        return outcomes

    def _failed(self, why: str) -> list[Json]:
        lines = self.printed.decode(errors="replace").strip().splitlines()
        last = f"; it last printed: {lines[-1][:200]}" if lines else ""
        return [{"error": f"the evaluator {why}{last}"}] * len(self.indices)

    def end(self) -> None:
        """Kill the fork and its process group; whoever left that dies with the sandbox."""
        if self.pid:
            for kill in (os.killpg, os.kill):  # the second for a fork that has not come to its setsid
                with contextlib.suppress(OSError):
                    kill(self.pid, signal.SIGKILL)
        os.close(self.results)
        os.close(self.output)


def _keep_signals_in() -> None:
    """From here on this process can signal its own children alone, where the kernel knows how (Landlock 6)."""
    if _libc is not None:
        scope = struct.pack("QQQ", 0, 0, 3)  # abstract sockets and signals
        rules = _libc.syscall(ctypes.c_long(444), scope, ctypes.c_long(len(scope)), ctypes.c_long(0))
        if rules >= 0:
            _libc.syscall(ctypes.c_long(446), ctypes.c_long(rules), ctypes.c_long(0))
            os.close(rules)


def _take(descriptor: int) -> bytes:
    try:
        return _read(descriptor, 65536)
    except BlockingIOError:
        return b""


def send(descriptor: int, message: Json) -> None:
    data = _dumps(message).encode() + b"\n"
    while data:
        data = data[_write(descriptor, data) :]


def _flat(outcome: Json) -> Json:
    """The outcome without what is nested deeper than metrics are: that could not be sent on, or not be read."""
    flat = {name: value for name, value in outcome.items() if not isinstance(value, (dict, list))}
    metrics = outcome.get("metrics")
    if isinstance(metrics, dict):
        flat["metrics"] = {name: value for name, value in metrics.items() if isinstance(value, float)}
    return flat


def _ending(status: int) -> str:
    if not os.WIFSIGNALED(status):
        return f"ended its process (exit status {os.WEXITSTATUS(status)}) without a score"
    name = signal.Signals(os.WTERMSIG(status)).name
    over = {"SIGXCPU": " (out of CPU time)", "SIGKILL": " (out of CPU time or memory)"}
    return f"was ended by {name}{over.get(name, '')}"


def one_line(error: BaseException) -> str:
    """An exception and the line of the evaluator's own code that it comes from."""
    stack = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in stack if os.path.abspath(frame.filename).startswith(_SOURCE)]
    place = f" ({os.path.basename(own[-1].filename)}, line {own[-1].lineno})" if own else ""
    return " ".join("".join(traceback.format_exception_only(type(error), error)).split())[:1000] + place
