"""Puts bounds on a child, starts the program in it, watches it, and kills all that is left: the outer process.

It runs under our interpreter, without site packages, and imports the standard library and its siblings alone. The
spec of `blocks.sandbox` is read from the descriptor in argv[1], since others can read a command line. The ways to
isolate are tried from the strongest on; the first message on the channel is {"isolation": way}, or {"refused": why}
where none is open and nothing was started.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from blocks import sandbox_linux as linux
from blocks import sandbox_ways as ways
from blocks.sandbox_watch import Watch
from blocks.sandbox_ways import Spec

# a signal of its own: who dies has threads that die later, so that the parent's ID does not tell it from being asked
_ABANDONED = signal.SIGUSR1
_BOUND = b"\0"  # said on the way to exec, so that an end without a word is no start


def main() -> None:
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        spec: Spec = json.loads(file.read())
    if "errors" in spec:
        os.set_inheritable(spec["errors"], False)
        _go(spec, ways.within_bubblewrap)
    watch = Watch(spec["scratch"], spec["limits"])
    signal.signal(signal.SIGTERM, lambda *_: _give_up(watch))
    signal.signal(_ABANDONED, lambda *_: _give_up(watch, spec["ours"]))
    if sys.platform == "linux":
        linux.prctl(linux.PR_SET_PDEATHSIG, _ABANDONED)
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)  # what the program leaves behind becomes ours to kill
    if os.getppid() != spec["parent"]:
        _give_up(watch, spec["ours"])
    why: list[str] = []
    for way in _ways(spec):
        child, refused = _start(spec, way)
        if child:
            _tell(spec, {"isolation": way.__name__})
            os.close(spec["channel"])
            os._exit(watch.until_end(child, program_is_below=way in (ways.namespaces, ways.bubblewrap)))
        why.append(f"{way.__name__}: {refused}")
    _tell(spec, {"refused": "; ".join(why)})


def _give_up(watch: Watch, ours: str | None = None) -> None:
    """Asked to end, or left alone: then nobody else removes what was made for the program, and ours is given."""
    watch.kill_all()
    if ours:
        shutil.rmtree(ours, ignore_errors=True)
    os._exit(143)


def _tell(spec: Spec, message: dict[str, str]) -> None:
    os.write(spec["channel"], json.dumps(message).encode() + b"\n")


def _ways(spec: Spec) -> list[Callable[[Spec], None]]:
    possible: list[Callable[[Spec], None]] = [ways.none_here]
    if sys.platform == "linux":
        possible = [ways.namespaces, ways.bubblewrap, ways.landlock]
    return [*possible, ways.unsandboxed] if spec["limits"]["unsandboxed"] else possible


def _start(spec: Spec, way: Callable[[Spec], None]) -> tuple[int, str]:
    """Fork a child that goes this way and becomes the program: its process ID, or 0 and why it could not."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        for number in (signal.SIGTERM, _ABANDONED):
            signal.signal(number, signal.SIG_DFL)
        _go({**spec, "errors": theirs}, way)
    os.close(theirs)
    with os.fdopen(ours, "rb") as errors:  # closed by a successful exec
        said = errors.read()
    if said == _BOUND:
        return child, ""
    os.waitpid(child, 0)
    return 0, said.removeprefix(_BOUND).decode(errors="replace") or "it ended before the program began"


def _go(spec: Spec, way: Callable[[Spec], None]) -> NoReturn:
    """Go this way and become the program; what stands in the way goes to the descriptor for errors."""
    try:
        way(spec)
        os.write(spec["errors"], _BOUND)
        os.execve(spec["argv"][0], spec["argv"], spec["environment"])
    except BaseException as error:
        os.write(spec["errors"], str(error).encode()[:1000])
    finally:
        os._exit(124)
