"""The Fireworks API, as far as preference learning needs it, on your own machine."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shlex
import socket
import sqlite3
import sys
from pathlib import Path

import uvicorn

from local_server.app import create_app, is_loopback
from local_server.billing import PriceFault
from local_server.config import KEEP_ALIVE_S, KEY_VARIABLE, Settings, default_home, default_jobs_at_once
from local_server.services import HomeInUse, Services

logger = logging.getLogger("local_server")


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    key = os.environ.get(KEY_VARIABLE) or None
    if key is None and not is_loopback(f"[{given.host}]" if ":" in given.host else given.host):
        print(
            f"refused to listen on {given.host} without a key: everybody who reaches it could train and read here. "
            f"Set {KEY_VARIABLE}, or listen on 127.0.0.1.",
            file=sys.stderr,
        )
        return 2
    try:
        # uvicorn raises Ctrl-C again when all is ended
        with contextlib.suppress(KeyboardInterrupt), _listen(given.host, given.port) as listener:
            _serve(listener, Services(_settings(given, key)))
    except (HomeInUse, PriceFault, OSError, sqlite3.Error) as error:
        print(f"the local server did not start: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(listener: socket.socket, services: Services) -> None:
    """Until Ctrl-C or SIGTERM."""
    host, port = listener.getsockname()[:2]
    logger.info("local server on http://%s:%s, account local, folder %s", host, port, services.home)
    config = uvicorn.Config(
        create_app(services),
        access_log=False,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=3,
    )
    _Server(config, services).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends the answers under way first, so that a long one neither holds up Ctrl-C nor is cut with a traceback."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._services.serving.end_answers()
        await super().shutdown(sockets)


def _settings(given: argparse.Namespace, key: str | None) -> Settings:
    settings = Settings(
        home=given.home.resolve(), key=key, jobs_at_once=given.jobs_at_once, prices=given.prices,
        job_memory_bytes=int(given.job_memory_gb * 1e9) if given.job_memory_gb else None,
    )  # fmt: skip
    commands = {
        name: tuple(shlex.split(text))
        for name, text in (
            ("training_command", given.training_command), ("generation_command", given.generation_command)
        )
        if text
    }  # fmt: skip
    return Settings(**{**vars(settings), **commands})


def _listen(host: str, port: int) -> socket.socket:
    """Raises OSError with the address and what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}. Choose another --port.") from None
    return listener


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prefworks serve",
        description=__doc__,
        epilog=f"{KEY_VARIABLE} in the environment is the key that clients must send; without it any key is taken, "
        "and only loopback addresses may be listened on. The account is called local.",
    )
    parser.add_argument("--home", type=Path, default=default_home(), help="folder for everything (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8787, help="port; 0 takes a free one (%(default)s)")
    parser.add_argument(
        "--jobs-at-once", type=_positive, default=default_jobs_at_once(),
        help="training jobs that run beside each other; others wait (%(default)s: one a GPU, or for 8 cores and 16 GB)",
    )  # fmt: skip
    parser.add_argument(
        "--job-memory-gb",
        type=float,
        help="memory that one training job may hold (0.8 of the machine's, shared)",
    )
    parser.add_argument("--prices", type=Path, help="price book, a TOML file (everything costs 0)")
    parser.add_argument("--training-command", help="program that trains, instead of local_server.training")
    parser.add_argument("--generation-command", help="program that answers, instead of local_server.generation")
    return parser


if __name__ == "__main__":
    sys.exit(main())
