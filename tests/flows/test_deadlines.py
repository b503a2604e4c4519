"""What is scheduled for a suspended run's deadline; that it ends the run is shown in tests/e2e/test_suspend.py."""

from __future__ import annotations

from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun

from flows import deadlines
from flows.preference_learning import preference_learning

SESSION, NO = "1779157376-41e1", {"decision": "reject"}


@pytest.fixture
def run(prefect) -> FlowRun:
    """A run of the flow's deployment, beside which the deadline's is deployed."""
    made = preference_learning.to_deployment("preference-learning").apply()
    deadlines.end_if_unanswered.to_deployment("preference-learning-deadline").apply()
    with get_client(sync_client=True) as client:
        return client.create_flow_run_from_deployment(made, parameters={"request": {"dataset": "x"}})


def scheduled() -> list[dict[str, object]]:
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[deadlines.FLOW])))
    return [run.parameters for run in found]


def test_a_deadline_is_scheduled_once_a_key_and_taken_back_with_the_session(run):
    for _ in range(2):
        deadlines.schedule(run.id, "plan-1", SESSION, NO, timeout_s=3600)
    assert scheduled() == [{"run": str(run.id), "key": "plan-1", "answer": NO}]
    deadlines.forget("1779157999-00ff")
    assert len(scheduled()) == 1
    deadlines.forget(SESSION)
    assert scheduled() == []


def test_a_deadline_leaves_a_run_alone_that_does_not_wait_there(run):
    for id, told in ((run.id, "the gate was answered"), (uuid4(), "the run is gone")):
        assert deadlines.end_if_unanswered.fn(id, "plan-1", NO).message == told
    with get_client(sync_client=True) as client:
        assert not deadlines.has_passed(client, run.id, "plan-1")
        assert client.read_flow_run(run.id).state.is_scheduled()
