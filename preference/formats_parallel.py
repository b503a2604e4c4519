"""A large plain file's parts, scanned side by side, and the canonical rows written in their order.

Rows that are canonical as they stand are found by threads, since numpy lets go of Python's lock; a part of them is
copied from the source by the kernel. Converting rows holds the lock, so parts that start with other rows go to
processes. `python -m preference.formats_parallel FILE` is one: it reads parts as JSON lines and answers with
pickles. It is ours, so these can be trusted.
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
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

from preference.formats_blocks import Block
from preference.formats_lines import READ_AHEAD_BYTES, find_parts, read_blocks
from preference.formats_scan import MAX_ROW_BYTES, Scan, Scanner, without_mark

PARALLEL_FROM_BYTES = 32 << 20  # below, a process takes longer to start than it saves
PART_BYTES = 4 << 20
_AHEAD = 4  # parts that may wait for an earlier one, for each thread
_LOOK_BYTES = 1 << 16  # of a part, to see whether its rows are canonical as they stand

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
    with path.open("rb") as source, _Children(path) as children:
        parts = list(find_parts(source, part_bytes))
        for part, (scan, data) in zip(parts, children.scan(parts, n_at_once or os.cpu_count() or 1), strict=True):
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


class _Children:
    """Processes that take parts whose rows have to be converted; each is started when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._all: list[subprocess.Popen[bytes]] = []
        self._idle: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> _Children:
        return self

    def __exit__(self, *error: object) -> None:
        for child in self._all:
            child.kill()
            child.communicate()

    def scan(self, parts: Iterable[Part], n_at_once: int) -> Iterator[Result]:
        """Results in the parts' order; a bounded number of parts is scanned ahead."""
        waiting: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(n_at_once) as threads:
            try:
                for part in parts:
                    waiting.append(threads.submit(self._scan_part, part))
                    if len(waiting) > _AHEAD * n_at_once:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                threads.shutdown(wait=True, cancel_futures=True)

    def _scan_part(self, part: Part) -> Result:
        with self._path.open("rb", buffering=READ_AHEAD_BYTES) as file:
            if _is_ready(file, part):
                return scan_part(file, part)
        with self._lock:
            if not self._idle:
                self._all.append(_start(self._path))
                self._idle.append(self._all[-1])
            child = self._idle.pop()
        result = self._ask(child, part)
        with self._lock:
            self._idle.append(child)
        return result

    def _ask(self, child: subprocess.Popen[bytes], part: Part) -> Result:
        assert child.stdin
        assert child.stdout
        try:
            child.stdin.write(json.dumps(part).encode() + b"\n")
            child.stdin.flush()
            result: Result = pickle.load(child.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise RuntimeError(f"a process that read a part of {self._path.name} ended: {error!r}") from None
        return result


def _is_ready(file: IO[bytes], part: Part) -> bool:
    """Whether most of a part's first lines are canonical as they stand."""
    start, end = part
    file.seek(start)
    block = Block(file.read(min(end - start, _LOOK_BYTES)))
    return 2 * sum(len(rows.lines) for rows in block.find_ready()) >= len(block) - 1  # the last one may be cut


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
    with path.open("rb", buffering=READ_AHEAD_BYTES) as file:
        for line in sys.stdin.buffer:
            start, end = json.loads(line)
            pickle.dump(scan_part(file, (start, end)), sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
