"""How fast this machine is, by a short measurement, and what it can hold, for what a plan says of a server on it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

SIZE = 512  # rows and columns: a matrix of a megabyte, as a small model's are
SECONDS = 0.3  # of processor time
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
_ONE_THREAD |= {"VECLIB_MAXIMUM_THREADS": "1"}
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_gflops(seconds: float = SECONDS) -> float | None:
    """Billions of float32 operations a second in a matrix product on one core, times the cores. A GPU is not looked at.

    On one, in a process of its own, by its processor time: threads that wait for each other on a busy machine showed a
    fiftieth of its speed. None where it could not be measured: a plan can do without.
    """
    command = [sys.executable, "-I", str(Path(__file__).resolve()), str(seconds)]
    try:
        done = subprocess.run(command, env={**os.environ, **_ONE_THREAD}, capture_output=True, text=True, check=True)
        return float(done.stdout) * usable_cores()
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def core_gflops(seconds: float) -> float:
    """The best of many products; the thread libraries must have been told to use one thread."""
    matrices = np.random.default_rng(0).random((2, SIZE, SIZE), dtype=np.float32)
    best_s, enough = float("inf"), time.thread_time() + seconds
    while time.thread_time() < enough:
        begun = time.thread_time()
        matrices[0] @ matrices[1]
        best_s = min(best_s, time.thread_time() - begun)
    return 2 * SIZE**3 / best_s / 1e9


def multiplies_bfloat16() -> bool | None:
    """Whether the processor does, so that the local server trains in it (fast_dtype there); else it takes float32.

    None: not known, as where there is a GPU, which is not looked at.
    """
    if Path("/proc/driver/nvidia").exists():
        return None
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False if sys.platform == "darwin" else None
    return not flags.isdisjoint({"avx512_bf16", "amx_bf16"})


def usable_cores() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_memory_gb() -> float:
    """GB (1e9 bytes) of memory that this machine, or the container that we run in, has."""
    found = [psutil.virtual_memory().total]
    for limit in _LIMITS:
        try:
            found.append(int(Path(limit).read_text()))
        except (OSError, ValueError):  # not in a container, or "max"
            continue
    return min(found) / 1e9


if __name__ == "__main__":
    print(core_gflops(float(sys.argv[1])))
