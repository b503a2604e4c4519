"""A large plain file's parts, scanned side by side, and the canonical rows written in their order.

The program reads parts itself, beside processes that start at once and take parts as soon as they can: checking and
hashing rows holds Python's lock for half of the time, so threads would hardly help. Rows that are canonical as they
stand are copied from the source by the kernel. `python -m preference.formats_parallel FILE` is such a process: it
reads parts as JSON lines and answers with pickles. It is ours, so these can be trusted.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO

from preference.formats_lines import READ_AHEAD_BYTES, find_parts, read_blocks
from preference.formats_scan import MAX_ROW_BYTES, Scan, Scanner, without_mark

PARALLEL_FROM_BYTES = 32 << 20  # below, a process takes longer to start than it saves
PART_BYTES = 4 << 20
_MOST_AT_ONCE = 8
_AHEAD = 12  # parts that may wait for an earlier one, for each process: one begins when it has started

Part = tuple[int, int]  # start and end in bytes
Result = tuple[Scan, bytes | None]  # what was found, and canonical bytes (None: as in the source)


class _PartSink:
    """Keeps nothing as long as what is written is what was read."""

    def __init__(self, file: IO[bytes], start: int) -> None:
        self._file, self._start = file, start
        self._n_same = 0
        self._changed: list[bytes] | None = None

    def write(self, lines: bytes, *, changed: bool) -> None:
        if self._changed is None and not changed:
            self._n_same += len(lines)
            return
        if self._changed is None:
            self._changed = [os.pread(self._file.fileno(), self._n_same, self._start)]
        self._changed.append(lines)

    def data(self) -> bytes | None:
        return None if self._changed is None else b"".join(self._changed)


def scan_part(file: IO[bytes], part: Part) -> Result:
    """The rows of one part, its lines counted from 1."""
    start, end = part
    sink = _PartSink(file, start)
    scanner = Scanner(sink)
    file.seek(start)
    for lines in read_blocks(file, MAX_ROW_BYTES, end - start):
        scanner.take_lines(without_mark(lines, sink) if start == 0 and scanner.scan.n_lines == 0 else lines)
    return scanner.scan, sink.data()


def scan_file(path: Path, out: IO[bytes], n_at_once: int | None = None, part_bytes: int = PART_BYTES) -> Scan:
    """The whole file, its canonical rows written to out."""
    whole = Scan()
    out.flush()
    n_processes = (n_at_once or min(os.cpu_count() or 1, _MOST_AT_ONCE)) - 1
    with path.open("rb") as source, _Crew(path, n_processes) as crew:
        parts = list(find_parts(source, part_bytes))
        for part, (scan, data) in zip(parts, crew.scan(parts), strict=True):
            if data is None:
                _copy(source.fileno(), out.fileno(), part)
            else:
                _write(out.fileno(), data)
            whole.extend(scan)
    return whole


def _copy(source: int, target: int, part: Part) -> None:
    at, end = part
    try:
        while at < end:
            at += os.copy_file_range(source, target, end - at, at)
    except (OSError, AttributeError):  # another file system, or another system
        while at < end:
            data = os.pread(source, min(end - at, PART_BYTES), at)
            _write(target, data)
            at += len(data)


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


class _Crew:
    """Ourselves and processes beside us, each taking the next part when it is done with one."""

    def __init__(self, path: Path, n_processes: int) -> None:
        self._path = path
        self.processes = [_start(path) for _ in range(n_processes)]
        self._todo: SimpleQueue[tuple[Part, Future[Result]] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._scan_elsewhere, args=(each,)) for each in self.processes]

    def __enter__(self) -> _Crew:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.kill()
            self._todo.put(None)
        for thread, process in zip(self._threads, self.processes, strict=True):
            thread.join()
            process.communicate()

    def scan(self, parts: Iterable[Part]) -> Iterator[Result]:
        """Results in the parts' order; a bounded number of parts is scanned ahead."""
        left, waiting = iter(parts), deque[Future[Result]]()
        with self._path.open("rb", buffering=READ_AHEAD_BYTES) as file:
            while True:
                for part in islice(left, _AHEAD * (len(self.processes) + 1) - len(waiting)):
                    waiting.append(Future())
                    self._todo.put((part, waiting[-1]))
                if not waiting:
                    return
                if not waiting[0].done() and (taken := self._take()):
                    taken[1].set_result(scan_part(file, taken[0]))
                else:
                    yield waiting.popleft().result()

    def _take(self) -> tuple[Part, Future[Result]] | None:
        try:
            return self._todo.get_nowait()
        except Empty:
            return None

    def _scan_elsewhere(self, process: subprocess.Popen[bytes]) -> None:
        while taken := self._todo.get():
            part, result = taken
            try:
                result.set_result(self._ask(process, part))
            except Exception as error:
                result.set_exception(error)

    def _ask(self, process: subprocess.Popen[bytes], part: Part) -> Result:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(part).encode() + b"\n")
            process.stdin.flush()
            result: Result = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise RuntimeError(f"a process that read a part of {self._path.name} ended: {error!r}") from None
        return result


def _start(path: Path) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parents[1])
    known = os.environ.get("PYTHONPATH")
    return subprocess.Popen(
        [sys.executable, "-m", "preference.formats_parallel", str(path.resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,  # a Ctrl-C is ours alone: without us it ends
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, known] if known else [root])},
    )


def _serve(path: Path) -> None:
    with path.open("rb", buffering=READ_AHEAD_BYTES) as file:
        for line in sys.stdin.buffer:
            start, end = json.loads(line)
            pickle.dump(scan_part(file, (start, end)), sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
