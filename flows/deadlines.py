"""A gate's time-out that ends the run truthfully: the waiting run is resumed with the answer that starts nothing.

Prefect's own time-out would mark the run Failed from the server, where no code of ours runs and nothing is reported.
A paused run keeps its process, and a thread in it watches the clock. A suspended run has none: a run of the deployment
`preference-learning-deadline`, scheduled for the deadline, does the same from a worker, whatever died meanwhile.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

import httpx
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.responses import DeploymentResponse, SetStateStatus
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Completed, Scheduled

from flows.runs import NothingWaits, resume

FLOW = "preference-learning-deadline"
POLL_S = 2

Answer = dict[str, str]


@flow(name=FLOW, flow_run_name="deadline of {run}", retries=5, retry_delay_seconds=60, persist_result=False)
def end_if_unanswered(run: UUID, key: str, answer: Answer) -> State[None]:
    """Resume the suspended run with this answer if it still waits at this key, and mark that the time was over."""
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(run).state
        except ObjectNotFound:
            return Completed(message="the run is gone")
        if state is None or not state.is_paused() or state.state_details.pause_key != key:
            return Completed(message="the gate was answered")
        _mark(client, run, key)  # first: the run may go on at once
        try:
            resume(client, run, answer)
        except NothingWaits:
            client.delete_flow_run_input(run, _mark_of(key))
            return Completed(message="the gate was answered in the last moment")
    return Completed(message="nobody answered in time: the run ends")


def schedule(run: UUID, key: str, session: str, answer: Answer, *, timeout_s: float) -> None:
    """Have the suspended run ended unless it is answered in time; asked again for the same key, the first one stays."""
    with get_client(sync_client=True) as client:
        found = deployment_for(client, run)
        if found is None:
            raise RuntimeError(NO_DEPLOYMENT)
        client.create_flow_run_from_deployment(
            found.id,
            name=f"deadline of {run}",  # the flow gives its own only once it runs
            parameters={"run": str(run), "key": key, "answer": answer},
            state=Scheduled(scheduled_time=datetime.now(UTC) + timedelta(seconds=timeout_s)),
            idempotency_key=f"{run}-{key}",
            tags=[_tag(session)],
        )


NO_DEPLOYMENT = (
    f"`wait: suspend` needs a deployment of {FLOW} on the run's work pool, to end a run that nobody answers in time: "
    "`make up` registers it, and so does `prefect deploy --all`."
)


def deployment_for(client: SyncPrefectClient, run: UUID) -> DeploymentResponse | None:
    """The deadline's deployment on the work pool of the run's own."""
    own = client.read_flow_run(run).deployment_id
    if own is None:
        return None
    pool = client.read_deployment(own).work_pool_name
    found = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])))
    return next((deployment for deployment in found if deployment.work_pool_name == pool), None)


def has_passed(client: SyncPrefectClient, run: UUID, key: str) -> bool:
    """Whether it was the deadline that answered."""
    try:
        return client.read_flow_run_input(run, _mark_of(key)) is not None
    except (ObjectNotFound, PrefectHTTPStatusError) as error:
        if isinstance(error, PrefectHTTPStatusError) and error.response.status_code != 404:
            raise
        return False


def forget(session: str) -> None:
    """Take back what is scheduled for the session, as when it was answered or has ended."""
    waiting = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[FLOW])),
            flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[_tag(session)]), state=waiting),
        )
        for run in runs:
            try:
                client.delete_flow_run(run.id)
            except ObjectNotFound:
                continue


def _mark(client: SyncPrefectClient, run: UUID, key: str) -> None:
    try:
        client.create_flow_run_input(run, _mark_of(key), "passed")
    except PrefectHTTPStatusError as error:
        if error.response.status_code != 409:  # an earlier try made it
            raise


def _mark_of(key: str) -> str:
    return f"deadline-{key}"


def _tag(session: str) -> str:
    return f"deadline of {session}"


class PausedDeadline:
    """Resumes a paused run with the answer that starts nothing, when nobody else has in time."""

    def __init__(self, run_id: UUID, timeout_s: float, answer: Answer) -> None:
        self.passed = False
        self._run_id = run_id
        self._answer = answer
        self._timer = threading.Timer(timeout_s, self._give_up)
        self._timer.daemon = True
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._timer.cancel()

    def _give_up(self) -> None:
        with get_client(sync_client=True) as client:
            while not self._over.is_set():
                self.passed = True  # before the run goes on
                try:
                    if client.resume_flow_run(self._run_id, run_input=self._answer).status == SetStateStatus.ACCEPT:
                        return
                except (httpx.TransportError, PrefectHTTPStatusError):
                    pass  # the server is away or busy: the gate stays shut, and we try again
                self.passed = False  # somebody answered first, or the question is not there yet
                self._over.wait(POLL_S)
