"""A run against the model that an earlier one deployed, on the real local server with scripted answers."""

from __future__ import annotations

import httpx
import pytest
from typer.testing import CliRunner

from blocks.workspace import Workspace
from flows.cli import app
from flows.preference_learning import preference_learning

FIRST, SECOND = "1779157376-41e1", "1779157377-41e2"
UNATTENDED = {"auto_approve_up_to_usd": 0, "auto_promote": "clear_winner"}


def run(parameters: dict):
    return preference_learning(**parameters, return_state=True)


def deployments(url: str) -> set[str]:
    found = httpx.get(f"{url}/v1/accounts/local/deployments").json()["deployments"]
    return {d["name"].rsplit("/", 1)[-1] for d in found}


def test_without_an_earlier_promotion_there_is_no_champion_and_then_there_is_one_to_beat(
    local_server, make_request, answering, home
):
    fields = {"champion": "last promoted", **UNATTENDED}
    state = run(make_request(local_server.url, session=FIRST, **fields))
    assert state.name == "Completed", state.message
    assert "Champion: none yet" in Workspace(FIRST, home).path("plan.md").read_text()

    state = run(make_request(local_server.url, session=SECOND, **fields))
    assert (state.name, state.type) == ("NotPromoted", "COMPLETED"), state.message
    second = Workspace(SECOND, home)
    assert f"- Champion `accounts/local/models/pw-{FIRST}-t1`, deployed by session `{FIRST}`" in (
        second.path("plan.md").read_text()
    )
    report = second.path("final_report.md").read_text()
    assert "t1 is not clearly better than champion" in report  # both of them answer alike
    assert "champion: accounts/local/models/" in report
    assert deployments(local_server.url) == {f"pw-{FIRST}-winner"}
    assert CliRunner().invoke(app, ["verify", SECOND]).exit_code == 0


def test_what_does_not_score_above_the_champion_is_not_promoted_by_name_either(
    local_server, make_request, answering, home
):
    run(make_request(local_server.url, session=FIRST, **UNATTENDED))
    told = [{"decision": "promote", "candidate": "t1"}, {"decision": "promote", "candidate": "t1"}]
    answers = {"plan": {"decision": "approve"}, "comparison": [*told, {"decision": "stop"}]}
    with answering(answers) as gates:
        state = run(make_request(local_server.url, session=SECOND, champion=f"pw-{FIRST}-t1"))
    assert state.name == "NotPromoted", state.message
    pages = [page for gate, page in gates.pages if gate == "comparison"]
    assert [page.count("t1 does not score above the champion") for page in pages] == [0, 1, 1]


@pytest.mark.parametrize(
    ("champion", "message"),
    [("no-such-model", "the champion 'no-such-model' is not on the platform"), ("tiny", "is not a tuned model")],
)
def test_a_champion_that_cannot_be_compared_with_is_said_before_anything_is_bought(
    local_server, make_request, home, champion, message
):
    state = run(make_request(local_server.url, session=FIRST, champion=champion, **UNATTENDED))
    assert state.is_failed()
    assert message in state.message
    assert deployments(local_server.url) == set()
