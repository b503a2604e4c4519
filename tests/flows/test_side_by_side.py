"""Runs that go on at once on one server, from one folder of sessions: each does its own, and nothing of another's."""

from __future__ import annotations

import httpx

from blocks.workspace import Workspace
from preference.report_facts import EndpointFacts
from preference.session import Outcome, SessionRecord
from tasks.verifying import verify
from tests.flows.test_recovery import start


def test_three_runs_that_begin_at_once_on_a_new_server(start_local_server, make_request, home):
    server = start_local_server()
    parameters = make_request(server.url, auto_approve_up_to_usd=0, auto_promote="clear_winner")
    processes = [start(parameters)[1] for _ in range(3)]
    assert [process.wait(240) for process in processes] == [0, 0, 0]
    sessions = [Workspace(folder.name, home) for folder in (home / "sessions").iterdir()]
    records = [each.read("session.json", SessionRecord) for each in sessions]
    assert [record.outcome for record in records] == [Outcome.PROMOTED] * 3, [record.message for record in records]
    found = httpx.get(f"{server.url}/v1/accounts/local/dpoJobs", params={"pageSize": 200}).json()["dpoJobs"]
    names = [job["name"].rsplit("/", 1)[-1] for job in found]
    assert sorted(names) == sorted(f"pw-{each.session}-t1" for each in sessions)
    deployed = [each.read("deployment.json", EndpointFacts).address for each in sessions]
    assert len(set(deployed)) == 3
    assert [line for each in sessions for line in verify(each)] == []
