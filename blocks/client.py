"""The Fireworks API as a typed client: one method an endpoint, and `ensure_` methods that do a thing once.

Synchronous, since the control plane is a handful of calls; thousands of completions go through `chat_many`.
The methods live by subject in client_datasets, client_jobs, client_batch, client_models, client_serving,
client_evaluators, client_chat and client_billing. No Prefect here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import httpx

from blocks.client_batch import Batch
from blocks.client_billing import Billing
from blocks.client_chat import Chat
from blocks.client_evaluators import Evaluators
from blocks.client_jobs import Jobs
from blocks.client_models import Models
from blocks.connection import Connection, waits_s


class FireworksClient(Batch, Jobs, Models, Evaluators, Chat, Billing):
    """The platform at `base_url`. `account` is found from the key when left out.

    With `session`, only what that session made can be changed or deleted; without one, what any session
    of ours made (IDs that begin with pw-). `transport`, `sleep`, `clock` and `waits` (seconds
    between one try and the next) are for tests.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str = "",
        account: str | None = None,
        *,
        session: str | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        waits: Callable[[], Iterator[float]] = waits_s,
    ) -> None:
        self._connection = Connection(base_url, api_key, transport=transport, sleep=sleep, clock=clock, waits=waits)
        self._account = (account or "").removeprefix("accounts/") or None
        self._ours = f"pw-{session}-" if session else "pw-"
        self._addresses = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def __repr__(self) -> str:
        return f"FireworksClient({self._connection.root!r}, account={self._account!r})"
