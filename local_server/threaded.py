"""The server in a thread of this process, on a free port: for tests and benchmarks."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.middleware import Middleware

from local_server.app import create_app
from local_server.config import KEEP_ALIVE_S, Settings
from local_server.services import Services

_START_S = 120


class ThreadedServer:
    """Serves from construction until stop(); its children end with it."""

    def __init__(self, settings: Settings, *, middleware: Sequence[Middleware] = ()) -> None:
        """Raises HomeInUse, PriceFault, and RuntimeError if it does not come up."""
        self.home: Path = settings.home
        self.services = Services(settings)
        app = create_app(self.services, middleware=middleware)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            app, access_log=False, log_level="warning", timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        # one thread for its whole life: the children are told to die with the thread that started them
        self._thread = threading.Thread(target=self._serve, name="local-server", daemon=True)
        self._thread.start()
        self._wait_until_up()

    def stop(self) -> None:
        """Ends the children and closes the store; may be called twice."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        with asyncio.Runner() as runner:
            self.loop = runner.get_loop()
            runner.run(self._server.serve(sockets=[self._socket]))

    def _wait_until_up(self) -> None:
        waited = threading.Event()
        for _ in range(_START_S * 100):
            if self._server.started:
                return
            if not self._thread.is_alive():
                break
            waited.wait(0.01)
        raise RuntimeError("the local server did not come up in its thread; see its log")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
