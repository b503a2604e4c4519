"""Run one flow run that was made beforehand, in a process of its own: `python -m flows.execute RUN_ID`."""

from __future__ import annotations

import sys
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.engine import handle_engine_signals
from prefect.flow_engine import run_flow

from flows.preference_learning import preference_learning


def main(run_id: UUID) -> None:
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(run_id)
    with handle_engine_signals(run_id):
        run_flow(
            preference_learning,
            flow_run=run,
            parameters=run.parameters,
            return_type="state",
        )


if __name__ == "__main__":
    main(UUID(sys.argv[1]))
