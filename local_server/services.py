"""Everything that a request may need, opened together and closed together, for one folder at a time."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import IO

from local_server.batches import BatchQueue
from local_server.billing import Ledger, Prices
from local_server.children import end_orphans
from local_server.config import Settings
from local_server.datasets import Datasets
from local_server.files import Incoming
from local_server.generator import Generator
from local_server.jobs import TrainingQueue
from local_server.models import Models
from local_server.serving import Serving
from local_server.signing import Signer
from local_server.store import Store

logger = logging.getLogger("local_server")


class HomeInUse(RuntimeError):
    """Another server has this folder."""


class Services:
    def __init__(self, settings: Settings) -> None:
        """Raises HomeInUse, PriceFault, OSError, sqlite3.Error."""
        self.settings = settings
        self.prices = Prices.read(settings.prices)
        self.home = settings.home
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)  # datasets may be private
        self._lock = _lock(self.home / "lock")
        try:
            self.store = Store(self.home / "server.db", settings.clock)
        except BaseException:
            self._lock.close()
            raise
        end_orphans(self.home / "children")
        self.signer = Signer.from_file(self.home / "secret")
        self.incoming = Incoming(self.home)
        self.ledger = Ledger(self.store, self.prices, settings.clock)
        self.models = Models(self.home, self.store)
        self.datasets = Datasets(self.home, self.store)
        self.generator = Generator(settings)
        self.serving = Serving(settings, self.store, self.models, self.generator, self.ledger)
        self.jobs = TrainingQueue(settings, self.store, self.datasets, self.models, self.ledger)
        self.batches = BatchQueue(self.home, self.store, self.datasets, self.models, self.generator, self.ledger)

    async def start(self) -> None:
        """Take up what an earlier server on this folder has left."""
        self.datasets.recover()
        await self.serving.start()
        await self.jobs.start()
        self.batches.start()

    async def close(self) -> None:
        await self.batches.close()
        await self.jobs.close()
        await self.serving.close()
        self.store.close()
        self._lock.close()


def _lock(path: Path) -> IO[str]:
    """Held until closed, or until this process ends, however it ends."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise HomeInUse(
            f"another local server (pid {owner}) uses {path.parent}; stop it, or choose another folder with --home"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
