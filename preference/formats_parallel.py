"""A large plain file's parts, scanned by several processes: parsing holds Python's lock, so threads would not do.

A part whose rows are canonical as they stand is copied from the source by the kernel; of any other part the
canonical bytes come back. `python -m preference.formats_parallel FILE` is the process: it reads parts as JSON
lines and answers with pickles. It is ours, so these can be trusted.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from preference.formats_lines import BLOCK_BYTES, find_parts, read_lines
from preference.formats_scan import MAX_ROW_BYTES, Scan, Scanner, without_mark

PARALLEL_FROM_BYTES = 32 << 20  # below, a process takes longer to start than it saves
PART_BYTES = 4 << 20
_AHEAD = 4  # parts that may wait for an earlier one, for each process

Part = tuple[int, int]  # start and end in bytes
Result = tuple[Scan, bytes | None]  # what was found, and canonical bytes (None: as in the source)


class _PartSink:
    """Keeps nothing as long as what is written is what was read."""

    def __init__(self, file: IO[bytes], start: int) -> None:
        self._file, self._start = file, start
        self._n_same = 0
        self._changed: list[bytes] | None = None

    def write(self, lines: list[bytes], n_changed: int) -> None:
        if self._changed is None and not n_changed:
            self._n_same += sum(map(len, lines))
            return
        if self._changed is None:
            self._changed = [os.pread(self._file.fileno(), self._n_same, self._start)]
        self._changed += lines

    def data(self) -> bytes | None:
        return None if self._changed is None else b"".join(self._changed)


def scan_part(file: IO[bytes], part: Part) -> Result:
    """The rows of one part, its lines counted from 1."""
    start, end = part
    sink = _PartSink(file, start)
    scanner = Scanner(sink)
    file.seek(start)
    for lines in read_lines(file, MAX_ROW_BYTES, end - start):
        scanner.take_lines(without_mark(lines, sink) if start == 0 and scanner.scan.n_lines == 0 else lines)
    return scanner.scan, sink.data()


def scan_file(path: Path, out: IO[bytes], n_processes: int | None = None, part_bytes: int = PART_BYTES) -> Scan:
    """The whole file, its canonical rows written to out."""
    whole = Scan()
    out.flush()
    with path.open("rb") as source:
        parts = list(find_parts(source, part_bytes))
        with _Workers(path, parts, n_processes or os.cpu_count() or 1) as workers:
            for part, (scan, data) in zip(parts, workers.results(), strict=True):
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


class _Workers:
    """Processes that scan parts, and this one beside them; results come in the parts' order."""

    def __init__(self, path: Path, parts: list[Part], n_processes: int) -> None:
        self._path, self._parts = path, parts
        self._next, self._given = 0, 0  # parts that were taken to be scanned; results that were given on
        self._ahead = _AHEAD * n_processes
        self._done: dict[int, Result] = {}
        self._changed = threading.Condition()
        self._failure: Exception | None = None
        self._children = [_start(path) for _ in range(min(n_processes, len(parts)) - 1)]
        self._threads = [threading.Thread(target=self._drive, args=(child,)) for child in self._children]

    def __enter__(self) -> _Workers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._next = len(self._parts)  # nothing more is begun
            self._changed.notify_all()
        for child in self._children:
            child.kill()
        for thread in self._threads:
            thread.join()
        for child in self._children:
            child.communicate()

    def results(self) -> Iterator[Result]:
        with self._path.open("rb", buffering=BLOCK_BYTES) as file:
            for i in range(len(self._parts)):
                while i not in self._done:
                    if (mine := self._take(wait=False)) is not None:
                        self._put(mine, scan_part(file, self._parts[mine]))
                        continue
                    with self._changed:
                        if self._failure:
                            raise self._failure
                        if i not in self._done:
                            self._changed.wait()
                with self._changed:
                    self._given += 1
                    self._changed.notify_all()
                yield self._done.pop(i)

    def _take(self, *, wait: bool) -> int | None:
        """The next part to scan; None where there is none, or without waiting none yet."""
        with self._changed:
            while self._next < len(self._parts) and self._next >= self._given + self._ahead:
                if not wait:
                    return None
                self._changed.wait()
            if self._next >= len(self._parts):
                return None
            self._next += 1
            return self._next - 1

    def _put(self, i: int, result: Result) -> None:
        with self._changed:
            self._done[i] = result
            self._changed.notify_all()

    def _drive(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin
        assert child.stdout
        try:
            while (i := self._take(wait=True)) is not None:
                child.stdin.write(json.dumps(self._parts[i]).encode() + b"\n")
                child.stdin.flush()
                self._put(i, pickle.load(child.stdout))
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            with self._changed:
                self._failure = RuntimeError(f"a process that read a part of {self._path.name} ended: {error!r}")
                self._changed.notify_all()


def _start(path: Path) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parents[1])
    known = os.environ.get("PYTHONPATH")
    return subprocess.Popen(
        [sys.executable, "-m", "preference.formats_parallel", str(path.resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, known] if known else [root])},
    )


def _serve(path: Path) -> None:
    with path.open("rb", buffering=BLOCK_BYTES) as file:
        for line in sys.stdin.buffer:
            start, end = json.loads(line)
            pickle.dump(scan_part(file, (start, end)), sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
