"""What the local server may be told when it is started, with defaults by the machine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ACCOUNT = "local"  # the account that everything made here belongs to
CATALOGUE_ACCOUNT = "fireworks"  # base models keep the names that they have on the cloud
KEY_VARIABLE = "PREFWORKS_LOCAL_KEY"
HOME_VARIABLE = "PREFWORKS_HOME"
KEEP_ALIVE_S = 75  # an idle connection; a client that reuses one must not find it just closed

_GB = 1 << 30
CORES_A_JOB, MEMORY_A_JOB = 8, 16 * _GB


def default_home() -> Path:
    """$PREFWORKS_HOME/local_server; PREFWORKS_HOME is ./.prefworks if unset."""
    return Path(os.environ.get(HOME_VARIABLE, ".prefworks")) / "local_server"


def machine_memory() -> int:
    """Bytes of memory that this process may use: the container's limit, or the machine's if lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            return min(total, int(limit.read_text()))
        except (OSError, ValueError):  # not in a container, or "max"
            continue
    return total


def default_jobs_at_once() -> int:
    """A job for each NVIDIA GPU; without one, as many as cores and memory carry."""
    gpus = Path("/proc/driver/nvidia/gpus")
    if gpus.is_dir():
        return max(1, len(list(gpus.iterdir())))
    return jobs_carried(usable_cores(), machine_memory())


def jobs_carried(cores: int, memory: int) -> int:
    """One for each eight cores and 16 GB, and at least one. On few cores a second job costs more than it brings."""
    return max(1, min(cores // CORES_A_JOB, memory // MEMORY_A_JOB))


def usable_cores() -> int:
    """Those that this process may run on: fewer than the machine's within a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Settings:
    home: Path
    key: str | None = None  # None: any key is taken, and only loopback may be bound
    jobs_at_once: int = field(default_factory=default_jobs_at_once)
    job_memory_bytes: int | None = None  # None: an equal share of 0.8 of the machine's
    training_command: tuple[str, ...] = (sys.executable, "-m", "local_server.training")
    generation_command: tuple[str, ...] = (sys.executable, "-m", "local_server.generation")
    idle_child_s: float = 600  # a warm training child without work is let go after this
    max_waiting_requests: int = 2048  # chat requests in flight; more get 429
    max_json_bytes: int = 32 << 20
    max_small_upload_bytes: int = 150_000_000  # the API's limit for :upload
    signed_url_life_s: float = 3600
    prices: Path | None = None  # a TOML file; without it everything costs 0
    clock: Callable[[], float] = time.time  # seconds since 1970; a test hands in its own

    @property
    def memory_limit(self) -> int:
        """Bytes that one training child may hold."""
        return self.job_memory_bytes or max(_GB, int(0.8 * machine_memory() / self.jobs_at_once))
