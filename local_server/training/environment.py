"""What the training and generation children are started with, and how they hang on to their parent."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

_ROOT = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


# glibc gives every big buffer back to the system and faults it in again: up to twice the time of a training step.
# A generation child gains nothing by keeping them, and would hold three times the memory
KEEP_BUFFERS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "20000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


def child_environment(*, gpu: int | None = None, trains: bool = False) -> dict[str, str]:
    """The whole environment of a child: the parent's own, without keys, with what the engine's speed hangs on.

    gpu: the one device that the child may see; TRL's DPO refuses to run where it sees several.
    """
    kept = {name: value for name, value in os.environ.items() if not _is_secret(name)}
    paths = [str(_ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        **(KEEP_BUFFERS if trains else {}),
        # threads that wait spin for some microseconds and then sleep. The default, milliseconds, makes a step several
        # times slower where anything else runs; OMP_WAIT_POLICY=passive, none at all, costs a fifth where nothing does
        "GOMP_SPINCOUNT": "3000",
        # models come from the catalogue's folders, never from a hub
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRL_EXPERIMENTAL_SILENCE": "1",  # ORPO lives in trl.experimental; trl is pinned
        "CUDA_VISIBLE_DEVICES": str(gpu) if gpu is not None else kept.get("CUDA_VISIBLE_DEVICES", "0"),
    }


def _is_secret(name: str) -> bool:
    return name.upper().endswith(("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIALS"))


def die_with_parent() -> None:
    """Have Linux kill this process when its parent is gone; elsewhere the closing of stdin does.

    The signal comes when the *thread* that started the child ends: start children from one that stays.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def take_stdout() -> TextIO:
    """The real stdout, for events alone; what libraries print goes to stderr from now on."""
    events = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return events


class Events:
    """Writes events, a JSON line each, from any thread."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, ensure_ascii=False, allow_nan=False)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


def read_lines(stream: TextIO) -> SimpleQueue[dict[str, Any]]:
    """The JSON lines of stdin as they come. When stdin closes the process ends, whatever it is doing."""
    lines: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def read() -> None:
        for line in stream:
            if line.strip():
                lines.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    return lines
