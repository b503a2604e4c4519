"""Which Prefect server the shell speaks to, and where its keys come from: the environment, or a .env beside it."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
from dotenv import load_dotenv

from flows import services
from flows.failing import fail

HEALTH_S = 15.0  # a busy server may take its time


def read_dot_env() -> None:
    """Take what .env in the current folder says into the environment; what is set there already stays."""
    load_dotenv(Path.cwd() / ".env")


def connect() -> None:
    """Speak to the Prefect server that PREFECT_API_URL names, else to the one that `up` started."""
    if address := os.environ.get("PREFECT_API_URL"):
        _require_answer(address.rstrip("/"))
        return
    port = services.running("prefect-server")
    if port is None:
        fail("no Prefect server is running: start it with `make up`, or set PREFECT_API_URL to yours.")
    use(port)


def _require_answer(address: str) -> None:
    """Prefect's own client would try for a minute, and end in a traceback."""
    try:
        answer = httpx.get(f"{address}/health", timeout=HEALTH_S)
        wrong = "" if answer.is_success or answer.status_code in (401, 403) else f"it answers HTTP {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        wrong = str(error) or type(error).__name__
    if wrong:
        fail(
            f"PREFECT_API_URL is {address}, and no Prefect API is there ({wrong}). It ends in /api, such as "
            "http://127.0.0.1:4200/api; without it, the server that `make up` started is used."
        )


def use(prefect_port: int) -> None:
    """This process and its children speak to our Prefect server from now on."""
    os.environ.update(services.prefect_environment(prefect_port))
