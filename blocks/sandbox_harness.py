"""Loads an evaluator and scores rows: the program that runs inside the sandbox, under the evaluator's Python.

The evaluator is imported once; each unit of work (a row, a group, or all rows) then runs in a fork of that process,
so that no row's code can touch another row's score, and a row that hangs, dies or prints without end is lost alone.
What an evaluator loads lazily is therefore loaded again in each fork: models belong at the top of its module.

stdin: the job, one JSON object {"paths", "entries": [{"name", "file", "function"}], "rows", "limits", "repeats"}.
Scored repeatedly, row r of n is index r, then n + r, and so on.
The result pipe's descriptor is in SANDBOX_CHANNEL. It carries JSON lines: {"ready": mode}, {"fault": text},
{"rows": [index, ...], "outcomes": [{"score", "reason", "metrics"} or {"error"}, ...]}.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import os
import selectors
import signal
import sys
import time
from types import ModuleType
from typing import Any

Json = dict[str, Any]
Job = dict[str, Any]


def _sibling(name: str) -> ModuleType:
    """A module from this file's folder, without that folder being on the evaluator's path."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(os.path.dirname(__file__), name + ".py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


calls = _sibling("sandbox_calls")
worker = _sibling("sandbox_worker")


def _units(mode: str, rows: list[Json]) -> list[list[int]]:
    """Indices of the rows that are scored together: one row, the rows of one prompt, or all."""
    if mode == calls.ALL:
        return [list(range(len(rows)))]
    if mode == calls.POINTWISE:
        return [[index] for index in range(len(rows))]
    groups: dict[Any, list[int]] = {}
    for index, row in enumerate(rows):
        row_id = (row.get("input_metadata") or {}).get("row_id")
        key = row_id if row_id is not None else json.dumps((row.get("messages") or [])[:-1], sort_keys=True)
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def _mode(entries: list[Any]) -> str:
    """The widest of the entries' modes."""
    modes = {str(entry.mode) for entry in entries}
    return next(str(mode) for mode in (calls.ALL, calls.GROUPWISE, calls.POINTWISE) if mode in modes)


def _reap() -> dict[int, int]:
    """The wait statuses of children that have ended, by process ID; to process 1 come those without a parent, too."""
    endings: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            endings[ended[0]] = ended[1]
    return endings


def _make_room() -> None:
    """End what ended rows have left behind. Without a process namespace some of it cannot be told from others."""
    if os.getpid() != 1:
        time.sleep(1)  # their own groups have been killed already
        _reap()
        return
    os.kill(-1, signal.SIGKILL)  # all of this process namespace but ourselves
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, 0):
            pass


def _start(waiting: list[list[int]], running: list[Any], entries: list[Any], job: Job, channel: int) -> Any:
    """Fork a worker for the next unit, if need be after making room for it."""
    indices = waiting[-1]
    theirs = [descriptor for other in running for descriptor in (other.results, other.output)]

    def outcomes() -> list[Json]:
        rows: list[Json] = job["rows"]
        return list(calls.outcomes_of(entries, [rows[index % len(rows)] for index in indices]))

    try:
        started = worker.Worker(outcomes, indices, job["limits"], [channel, *theirs])
    except OSError:
        if running:
            raise
        _make_room()
        started = worker.Worker(outcomes, indices, job["limits"], [channel])
    waiting.pop()
    running.append(started)
    return started


def score(entries: list[Any], job: Job, channel: int) -> None:
    """Score all rows, some at once, each as soon as there is room."""
    n_rows = len(job["rows"])
    units = _units(_mode(entries), job["rows"])
    waiting = [[index + n_rows * turn for index in unit] for turn in range(job["repeats"]) for unit in units][::-1]
    running: list[Any] = []
    selector = selectors.PollSelector()  # it has no descriptor of its own, which the forks would share
    while waiting or running:
        while waiting and len(running) < job["limits"]["concurrency"]:
            try:
                started = _start(waiting, running, entries, job, channel)
            except OSError as error:
                if not running:
                    indices = waiting.pop()
                    why = {"error": f"no process could be started for it: {error.strerror}"}
                    worker.send(channel, {"rows": indices, "outcomes": [why] * len(indices)})
                break
            selector.register(started.results, selectors.EVENT_READ)
            selector.register(started.output, selectors.EVENT_READ)
        selector.select(0.05)
        endings = _reap()
        for each in list(running):
            if (outcomes := each.look(endings)) is not None:
                selector.unregister(each.results)
                selector.unregister(each.output)
                each.end()
                running.remove(each)
                worker.send(channel, {"rows": each.indices, "outcomes": outcomes})


def main() -> None:
    channel = int(os.environ.pop("SANDBOX_CHANNEL"))
    os.set_inheritable(channel, False)
    job = json.loads(sys.stdin.buffer.read())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 cannot be sent what it does not handle
    sys.dont_write_bytecode = True
    sys.path[:0] = job["paths"]
    try:
        entries = calls.load_all(job["entries"])
    except BaseException as error:
        worker.send(channel, {"fault": worker.one_line(error)})
        return
    gc.collect()
    gc.freeze()  # the forks then leave the pages alone that they share
    worker.send(channel, {"ready": _mode(entries)})
    score(entries, job, channel)


if __name__ == "__main__":
    main()
