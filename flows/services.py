"""What a run needs on this machine, started and stopped by us: local server, Prefect server, Prefect worker.

Each is a process with a PID file and a log under $PREFWORKS_HOME/run. Starting what runs is a no-op, and so is
stopping what does not. Only processes that stand in our PID files are ever stopped.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from blocks.workspace import prefworks_home

PREFECT_PORT = 4200  # Prefect's own default
LOCAL_SERVER_PORT = 8787
START_TIMEOUT_S = 300.0  # a first start makes Prefect's database, and a busy machine takes its time
STOP_TIMEOUT_S = 20.0


class ServiceError(RuntimeError):
    """A service could not be started; the message says why and what to do."""


@dataclass(frozen=True)
class Service:
    """A process of ours. Without a port there is nothing to wait for but that it stays alive."""

    name: str
    command: list[str]
    port: int | None = None
    health: str = "/health"
    port_variable: str = ""
    environment: dict[str, str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def prefect_environment(prefect_port: int) -> dict[str, str]:
    """What every process of ours that speaks to our Prefect server has in its environment."""
    return {
        "PREFECT_HOME": str(prefworks_home() / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect_port}/api",
        "PREFWORKS_HOME": str(prefworks_home()),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # the default, in memory, leaks concurrency slots when the server restarts
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_CLI_PROMPT": "false",
    }


def prefect_server(port: int) -> Service:
    return Service(
        name="prefect-server",
        command=["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        port=port,
        health="/api/health",
        port_variable="PREFECT_PORT",
        environment=prefect_environment(port),
    )


def local_server(port: int) -> Service:
    return Service(
        name="local-server",
        command=["-m", "local_server", "--port", str(port)],
        port=port,
        port_variable="LOCAL_SERVER_PORT",
        environment={"PREFWORKS_HOME": str(prefworks_home())},
    )


def worker(prefect_port: int) -> Service:
    return Service(
        name="prefect-worker",
        command=["-m", "prefect", "worker", "start", "--pool", "prefworks", "--type", "process"],
        environment=prefect_environment(prefect_port),
    )


def start(service: Service) -> bool:
    """Start it and wait until it answers; False where it already runs. Raises ServiceError."""
    if running(service.name) == service.port and is_alive(service.name):
        return False
    if service.port is not None and not port_is_free(service.port):
        raise ServiceError(
            f"{service.name} wants port {service.port}, and something else listens there. "
            f"Stop that, or choose another port: {service.port_variable}=<port> make up"
        )
    folder = _run_folder()
    log = folder / f"{service.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *service.command],
            env={**os.environ, **(service.environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C at our terminal is ours to handle
        )
    record = {
        "pid": process.pid,
        "created": psutil.Process(process.pid).create_time(),
        "port": service.port,
    }
    (folder / f"{service.name}.json").write_text(json.dumps(record))
    try:
        _wait_until_up(service, process, log)
    except BaseException:
        stop(service.name)
        raise
    return True


def _wait_until_up(service: Service, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    grace = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServiceError(
                f"{service.name} ended at once (exit code {process.returncode}). The end of {log}:\n{_tail(log)}"
            )
        if service.port is None:
            if time.monotonic() > grace:
                return
        else:
            try:
                if httpx.get(service.url + service.health, timeout=2.0, trust_env=False).is_success:
                    return
            except httpx.TransportError:
                pass
        time.sleep(0.2)
    raise ServiceError(
        f"{service.name} does not answer at {service.url}{service.health} after {START_TIMEOUT_S:.0f} s. "
        f"The end of {log}:\n{_tail(log)}"
    )


def stop(name: str) -> bool:
    """End the service and its children; False where it was not running."""
    process = _process(name)
    file = _run_folder() / f"{name}.json"
    if process is None:
        file.unlink(missing_ok=True)
        return False
    family = [process, *process.children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=STOP_TIMEOUT_S)
    for left in alive:
        try:
            left.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)
    file.unlink(missing_ok=True)
    return True


def is_alive(name: str) -> bool:
    return _process(name) is not None


def running(name: str) -> int | None:
    """The port that the running service was started on; None where it does not run or has none."""
    record = _record(name)
    return record.get("port") if record and _process(name) else None


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(wanted: int) -> int:
    """The wanted port where it is free, else any free one; 0 wants any."""
    if wanted and port_is_free(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run_folder() -> Path:
    folder = prefworks_home() / "run"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _record(name: str) -> dict[str, int] | None:
    try:
        record: dict[str, int] = json.loads((_run_folder() / f"{name}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return record


def _process(name: str) -> psutil.Process | None:
    """The service's process, if it is still that one: PIDs are used again."""
    record = _record(name)
    if record is None:
        return None
    try:
        process = psutil.Process(int(record["pid"]))
        same = abs(process.create_time() - record["created"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text("utf-8", errors="replace").splitlines()[-lines:])
