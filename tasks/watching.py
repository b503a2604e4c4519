"""What runs by the hour is looked at while it runs: an estimate can be passed, the budget must not be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from blocks.client import FireworksClient
from blocks.workspace import Workspace
from preference.ledger import OutOfBudget
from tasks import spending
from tasks.deployment import take_down_evaluation

WATCH_S = 15.0  # between two looks


@contextmanager
def within_budget(client: FireworksClient, workspace: Workspace) -> Iterator[None]:
    """While the session's deployments are used: they are taken down under their users before the budget is passed.

    Raises OutOfBudget then, whatever that made of the users' calls.
    """
    reached: list[OutOfBudget] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(WATCH_S):
            try:
                spending.extend_evaluation(workspace, 2 * WATCH_S)
            except OutOfBudget as error:
                reached.append(error)
                take_down_evaluation(client, workspace)
                return

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield
    except Exception:
        if not reached:
            raise
    finally:
        over.set()
        watch.join()
    if reached:
        raise reached[0]
