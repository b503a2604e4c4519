"""Which Prefect server the shell speaks to, and where its keys come from: the environment, or a .env beside it."""

from __future__ import annotations

import os
from pathlib import Path

from dotenv import load_dotenv

from flows import services
from flows.failing import fail


def read_dot_env() -> None:
    """Take what .env in the current folder says into the environment; what is set there already stays."""
    load_dotenv(Path.cwd() / ".env")


def connect() -> None:
    """Speak to the Prefect server that PREFECT_API_URL names, else to the one that `up` started."""
    if "PREFECT_API_URL" in os.environ:
        return
    port = services.running("prefect-server")
    if port is None:
        fail("no Prefect server is running: start it with `make up`, or set PREFECT_API_URL to yours.")
    use(port)


def use(prefect_port: int) -> None:
    """This process and its children speak to our Prefect server from now on."""
    os.environ.update(services.prefect_environment(prefect_port))
