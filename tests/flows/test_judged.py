"""The flow with a judge and no evaluator: a good one decides, a biased one is caught before anything is trained."""

from __future__ import annotations

import json

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.session import Outcome, SessionRecord, SessionState
from preference.standings import Comparison
from tasks.judging import QUALIFIED, Tries
from tasks.verifying import verify
from tests.flows.conftest import RUBRIC, WORDS, pair, write_rows
from tests.flows.test_pairs import prompts_request

APPROVE = {
    "plan": {"decision": "approve", "name": "Ada"},
    "comparison": {"decision": "continue"},
    "promotion": {"decision": "approve"},
}


def run(parameters: dict):
    return preference_learning(**parameters, return_state=True)


def the_session(home) -> Workspace:
    [folder] = (home / "sessions").iterdir()
    return Workspace(folder.name, home)


def tries(home) -> Tries:
    found = the_session(home).read(QUALIFIED, Tries)
    assert found is not None
    return found


def test_how_far_a_judge_has_come_is_on_the_run_s_page(local_server, make_judged, answering, home, monkeypatch):
    monkeypatch.setattr("tasks.counting.EVERY_S", 0.02)  # else this judge is too fast to be seen at it
    with answering(APPROVE):
        state = run(make_judged(local_server.url, "perfect"))
    assert state.name == "Completed", state.message
    session = the_session(home).session
    with get_client(sync_client=True) as client:
        ours = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        found = client.read_artifacts(artifact_filter=ours, limit=200)
    shown = {a.key: (a.data, a.description) for a in found if a.type == "progress"}
    percent, text = shown[f"judge-qualification-1-{session}"]
    assert percent == 100.0
    assert text.startswith("40 of 40 verdicts, ")
    assert f"judge-selection-t1-{session}" in shown


def test_a_good_judge_is_qualified_and_decides(local_server, make_judged, answering, home, judges):
    with answering(APPROVE) as gates:
        state = run(make_judged(local_server.url, "perfect"))
    assert state.name == "Completed", state.message
    assert [gate for gate, _ in gates.pages] == ["plan", "comparison", "promotion"]
    plan, comparison = gates.pages[0][1], gates.pages[1][1]
    assert f"Judge `perfect` at {judges.url} compares each candidate's answers" in plan
    assert "| Judge's qualification | 20 labelled pairs in both orders | 0.00 | 0.00 | 0.00 |" in plan
    assert "verdicts: 10 answers to choose and 10 to confirm, in both orders" in plan
    assert "Judged by perfect, in both orders" in comparison
    assert "**Proposed: t1**, a clear winner." in comparison

    session = the_session(home)
    report = session.path("final_report.md").read_text()
    assert "**Promoted t1.** t1 has a win rate of 100 % [" in report
    assert "judged by perfect in both orders on 10 confirmation prompts, which did not choose it" in report
    assert "**perfect is qualified** to judge by this rubric." in report
    assert "> - is to the point" in report
    assert "shown first: won, “perfect says so”; shown second: won" in report
    assert "scores 1.00" not in report
    assert verify(session) == []
    n_asked = 2 * (20 + 10 + 10)
    assert len(judges.bodies) == n_asked
    assert len({json.dumps(body, sort_keys=True) for body in judges.bodies}) == n_asked


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("first", "0 % of its verdicts stay the same when the answers change places"),
        ("longer", "agreement with the labels, 0 %"),
        ("coin", "is not surely above 50 %"),
        ("garbage", "100 % of the verdicts could not be read"),
        ("hang", "100 % of the verdicts could not be read"),
        ("refuse", "response_format is not supported"),
    ],
)
def test_a_judge_below_the_line_asks_before_anything_is_trained(
    local_server, make_judged, answering, home, model, reason
):
    with answering({**APPROVE, "judge": {"decision": "stop", "name": "Ada"}}) as gates:
        state = run(make_judged(local_server.url, model))
    assert (state.name, state.type) == ("Rejected", "COMPLETED"), state.message
    assert [gate for gate, _ in gates.pages] == ["plan", "judge"]
    page = gates.pages[1][1]
    assert reason in page
    assert "What can be done: give `evaluator`" in page
    session = the_session(home)
    assert not (session.folder / "trials").exists()
    report = session.path("final_report.md").read_text()
    assert "the judge was not trusted, and nothing was trained" in report
    assert f"**{model} is not qualified**" in report
    assert "judge gate: stop by Ada" in report


def test_a_judge_below_the_line_names_no_clear_winner_where_it_is_used_all_the_same(
    local_server, make_judged, answering, home
):
    with answering({**APPROVE, "judge": {"decision": "continue"}}) as gates:
        state = run(make_judged(local_server.url, "first"))
    assert state.name == "NotPromoted", state.message
    assert "The judge first is below the line" in gates.pages[2][1]
    comparison = the_session(home).read("comparison.json", Comparison)
    assert comparison.clear is False
    assert comparison.candidates[0].n_flipped == 10  # all of them: the verdict goes with the order
    assert verify(the_session(home)) == []


def test_unattended_a_judge_below_the_line_waits(local_server, make_judged, answering, home):
    """Nothing answers for a human: the gate times out under its own name."""
    policy = {"auto_approve_up_to_usd": 0, "auto_promote": "clear_winner", "gate_timeout_days": 3 / 86400}
    state = run(make_judged(local_server.url, "first", **policy))
    assert state.name == "TimedOut", state.message
    assert "nobody answered the judge gate" in state.message


def test_without_a_rubric_the_judge_writes_one_that_must_predict_unseen_labels(
    local_server, make_judged, answering, home, judges
):
    judges.criteria = lambda text: [{"text": "is short", "pairs": [1, 2]}, {"text": "rhymes", "pairs": []}]
    with answering(APPROVE) as gates:
        state = run(make_judged(local_server.url, "perfect", rubric=""))
    assert state.name == "Completed", state.message
    assert "at most 3 rubrics written, each tried on 14 labelled pairs in both orders" in gates.pages[0][1]
    [found] = tries(home).tries
    assert found.rubric == "The better answer:\n- is short"
    assert found.n_labels == 14
    shown = judges.bodies[0]["messages"][1]["content"]
    asked = [body["messages"][1]["content"] for body in judges.bodies[1:29]]
    for label in ("harbour", "hammer", "river"):
        assert not (f" {label} is for" in shown and any(f" {label} is for" in text for text in asked))
    report = the_session(home).path("final_report.md").read_text()
    assert "> - is short" in report
    assert verify(the_session(home)) == []


def test_three_poor_rubrics_ask(local_server, make_judged, answering, home):
    with answering({**APPROVE, "judge": {"decision": "stop"}}):
        state = run(make_judged(local_server.url, "first", rubric=""))
    assert state.name == "Rejected", state.message
    assert len(tries(home).tries) == 3


def test_what_was_paid_for_is_not_asked_again(local_server, make_judged, answering, home, judges):
    parameters = make_judged(local_server.url, "perfect")
    with answering({**APPROVE, "comparison": []}):
        state = run({"request": {**parameters["request"], "gate_timeout_days": 20 / 86400}})
    assert state.name == "TimedOut", state.message
    n_asked = len(judges.bodies)
    session = the_session(home)
    # as a crash at the gate would leave it
    record = session.read("session.json", SessionRecord)
    session.write("session.json", record.model_copy(update={"state": SessionState.WAITING, "outcome": None}))
    with answering(APPROVE):
        state = run({"request": {**parameters["request"], "session": session.session}})
    assert state.name == "Completed", state.message
    assert len(judges.bodies) == n_asked


def test_a_model_on_the_platform_judges_from_its_own_deployment(local_server, make_request, answering, home):
    """The scripted model answers no JSON, so that it is caught; its deployment is gone by then."""
    with answering({**APPROVE, "judge": {"decision": "stop"}}) as gates:
        state = run(make_request(local_server.url, evaluator="", judge="tiny", rubric=RUBRIC))
    assert state.name == "Rejected", state.message
    assert "is of the same family as the tuned model (tiny)" in gates.pages[0][1]
    assert "100 % of the verdicts could not be read" in gates.pages[1][1]
    assert list((the_session(home).folder / "evaluation").glob("*.json")) == []
    assert record(home).outcome is Outcome.REJECTED


def test_prompts_alone_are_judged_by_a_rubric_from_the_pairs_that_were_made(
    local_server, make_judged, answering, home, tmp_path, judges
):
    """The judge is right on all of them, and so is whoever picks the longer answer: a human is asked."""
    judges.criteria = lambda text: [{"text": "ends well", "pairs": [1]}]
    parameters = prompts_request(
        lambda url, **fields: make_judged(url, "perfect", rubric="", **fields), local_server.url, tmp_path
    )
    with answering({**APPROVE, "judge": {"decision": "continue"}}) as gates:
        state = run(parameters)
    assert state.name == "NotPromoted", state.message
    assert [gate for gate, _ in gates.pages] == ["plan", "judge", "comparison"]
    assert "a judge that picks the longer answer would pass unseen" in gates.pages[1][1]
    found = tries(home).best
    assert found.source.startswith("the delta labels")
    assert found.rubric == "The better answer:\n- ends well"
    assert found.agreement.value == 1
    report = the_session(home).path("final_report.md").read_text()
    assert "the delta labels: a strong model's answer over a weak one's" in report
    assert verify(the_session(home)) == []


def test_halving_is_ranked_by_the_judge(local_server, make_judged, answering, home, tmp_path, judges):
    pairs = write_rows(tmp_path / "many-pairs.jsonl", [pair(f"Tell the {a} about the {a}s") for a in WORDS])
    sweep = {"learning_rates": [1e-4, 3e-4], "betas": [0.1, 0.3], "max_context_length": 512}
    given = make_judged(local_server.url, "perfect", dataset=str(pairs), strategy="halving", sweep=sweep)
    with answering({**APPROVE, "comparison": {"decision": "stop"}}) as gates:
        state = run(given)
    assert state.name == "NotPromoted", state.message
    session = the_session(home)
    assert "7 jobs" in gates.pages[0][1]
    comparison = session.read("comparison.json", Comparison)
    assert comparison.judge == "perfect"
    assert len(comparison.candidates) == 1
    judged = {file.stem for file in (session.folder / "verdicts").glob("selection-*-r*.jsonl")}
    assert judged == {*(f"selection-t{n}-r1" for n in (1, 2, 3, 4)), "selection-t1-r2", "selection-t2-r2"}
    assert verify(session) == []


def record(home) -> SessionRecord:
    found = the_session(home).read("session.json", SessionRecord)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"judge": "no-such-judge"}, "there is no JudgeEndpoint block called 'no-such-judge', and no such model"),
    ],
)
def test_without_anything_to_judge_by_the_run_says_what_to_give(local_server, make_request, home, fields, message):
    state = run(make_request(local_server.url, evaluator="", **fields))
    assert state.is_failed()
    assert message in state.message
