"""Pairs from prompts where a judge compares: it looks at the first ones, and its filter has the last word on all."""

from __future__ import annotations

import json

import pytest

from blocks.client import FireworksClient
from blocks.judge import JudgeEndpoint
from flows.preference_learning import preference_learning
from preference.pair_judging import REVERSED, TIED
from tasks.judging import LABELS, QUALIFIED, Labels, Tries
from tests.flows.test_pairs import APPROVE, names, prompts_request, the_session
from tests.scripted_judge import ScriptedJudges

RUBRIC = "The better answer:\n- is by the tuned model"
REVERSE, TIE = "hammer", "river"  # words of prompts whose pairs the judge sees otherwise


@pytest.fixture
def better():
    def first_is(conversation: str, one: str, other: str) -> bool | None:
        if TIE in conversation or one.endswith("/tuned") == other.endswith("/tuned"):
            return None
        return one.endswith("/tuned") != (REVERSE in conversation)

    return first_is


@pytest.fixture
def make_judged(make_request, judges, local_server, tmp_path):
    """make_judged(model, **fields): prompts alone, with one of the scripted judges and no evaluator."""

    def make(model: str, price: float = 0, **fields) -> dict:
        prices = {"usd_per_million_prompt_tokens": price, "usd_per_million_completion_tokens": price}
        judge = JudgeEndpoint(base_url=judges.url, model=model, read_timeout_s=20, patience_s=20, **prices)
        judge.save(model, overwrite=True)
        given = {"evaluator": "", "judge": model, "rubric": RUBRIC, **fields}
        return prompts_request(make_request, local_server.url, tmp_path, **given)

    return make


def asked_about(judges: ScriptedJudges) -> list[str]:
    return [json.dumps(body["messages"]) for body in judges.bodies]


def test_the_judge_looks_at_the_first_pairs_and_drops_what_it_does_not_confirm(
    local_server, make_judged, answering, home, judges
):
    # 300 prompt and 20 completion tokens a call, at 10 USD a million
    parameters = make_judged("perfect", price=10, pairs={"judge_filter": True, "first_prompts": 12})
    with answering({**APPROVE, "judge": {"decision": "continue"}}) as gates:
        state = preference_learning(**parameters, return_state=True)
    assert state.is_completed(), state.message
    page = gates.pages[0][1]
    assert "The first 12 prompts are judged by perfect, in both orders; it has not been tried by then" in page
    assert "Then perfect compares all pairs, in both orders" in page
    assert "| Pairs' judging | 40 calls: 20 pairs (all, the first included), in both orders |" in page

    workspace = the_session(home)
    made = workspace.read_json("pairs/pairs.json")
    assert made["drops"] == {REVERSED: 1, TIED: 1}
    assert made["n_valid"] == 18
    with FireworksClient(local_server.url, account="local") as client:
        [dataset] = [d for d in client.list_datasets() if "-pairs-2" in d.name]
        assert dataset.example_count == 18
    origins = {origin["reason"]: origin for origin in workspace.lines("pairs/provenance.jsonl")}
    assert (origins[REVERSED]["judge"]["strong_first"], origins[REVERSED]["judge"]["strong_second"]) == ("B", "A")
    assert (origins[TIED]["judge"]["strong_first"], origins[TIED]["judge"]["strong_second"]) == ("tie", "tie")
    kept = [origin for origin in workspace.lines("pairs/provenance.jsonl") if origin["kept"]]
    assert {(o["judge"]["strong_first"], o["judge"]["strong_second"]) for o in kept} == {("A", "B")}
    assert "the judge confirms it in both orders" in kept[0]["reason"]

    # tried on what it has not filtered: on its own choice it would agree with itself
    labels, tries = workspace.read(LABELS, Labels), workspace.read(QUALIFIED, Tries)
    assert labels is not None
    assert tries is not None
    assert labels.pool.n_shorter_better + labels.pool.n_longer_better == 20
    assert tries.best.agreement.n_unread == 0

    # each pair is asked about once in each order, by the first pass, the trial and the filter together
    of_pairs = [text for text in asked_about(judges) if "/base" in text and "/tuned" in text]
    assert len(set(of_pairs)) == len(of_pairs)
    bought = [line for line in workspace.lines("ledger.jsonl") if line["category"] == "Pairs' judging"]
    assert {line["resource"] for line in bought} == {"judge-pairs-first", "judge-pairs-1"}
    report = workspace.path("pairs/report.md").read_text()
    assert "Judge's filter, on all valid pairs: by perfect, in both orders, the strong model wins 92 % [" in report
    assert "shown first 92% (18 won, 1 tied, 1 lost), shown second 92% (18 won, 1 tied, 1 lost)" in report
    assert "pairs' judging 0." in report
    assert report.split("\n", 2)[2].strip() in workspace.path("final_report.md").read_text()


def test_a_judge_that_looks_at_the_position_alone_does_not_let_the_rest_be_bought(
    local_server, make_judged, answering, home
):
    parameters = make_judged("first", rubric="", pairs={"first_prompts": 9})
    with answering({**APPROVE, "pairs": {"decision": "stop"}}) as gates:
        state = preference_learning(**parameters, return_state=True)
    assert (state.name, state.type) == ("Rejected", "COMPLETED")
    assert [gate for gate, _ in gates.pages] == ["plan", "pairs"]
    assert "by a rubric that it writes from some of them and is asked about the others" in gates.pages[0][1]
    page = gates.pages[1][1]
    assert "by first, in both orders, the strong model wins 50 % [" in page
    assert "shown first 100% (6 won, 0 tied, 0 lost), shown second 0% (0 won, 0 tied, 6 lost)" in page
    assert "its rubric was written from 3 others; the judge was not tried before" in page
    with FireworksClient(local_server.url, account="local") as client:
        assert names(client.list_deployments()) == []
