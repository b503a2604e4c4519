"""An instruction read a second time by a model: only after a yes to its price, and every difference is asked."""

from __future__ import annotations

import pytest

from blocks.judge import JudgeEndpoint
from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.plan import Plan
from tasks.second_reading import CATEGORY
from tasks.spending import ledger
from tests.scripted_judge import ScriptedJudges

SESSION = "1779157376-41e1"
REJECT = {"decision": "reject"}
TEXT = "Use tiny, train for three rounds, with rank 8."


@pytest.fixture
def reader():
    """Reads three rounds as epochs, and the rank wrongly."""
    read = {
        "base_models": {"value": ["tiny"], "words": "Use tiny"},
        "sweep.epochs": {"value": [3], "words": "three rounds"},
        "sweep.lora_ranks": {"value": [16], "words": "rank 8"},
    }
    served = ScriptedJudges(lambda conversation, one, other: None, settings=lambda text: read)
    yield served
    served.stop()


def run(make_request, url: str, reader: ScriptedJudges, model: str, usd: float, **fields):
    """usd: per million tokens, of both kinds; -1 is unknown."""
    prices = {"usd_per_million_prompt_tokens": usd, "usd_per_million_completion_tokens": usd}
    endpoint = JudgeEndpoint(base_url=reader.url, model=model, read_timeout_s=0.3, patience_s=0.5, **prices)
    endpoint.save("reader", overwrite=True)
    given = make_request(url, instruction=TEXT, second_reading="reader", session=SESSION, **fields)
    request = {k: v for k, v in given["request"].items() if k != "base_model"}
    return preference_learning(request, return_state=True)


def test_it_is_paid_for_after_a_yes_and_what_differs_is_asked_then(local_server, make_request, reader, answering, home):
    asks = [
        {"second_reading": "yes", "decision": "go on", "name": "Ada"},
        {"sweep_epochs": "3", "sweep_lora_ranks": "8", "decision": "go on"},
    ]
    with answering({"inputs": asks, "plan": REJECT}) as gates:
        state = run(make_request, local_server.url, reader, "perfect", 2.0)
    assert state.name == "Rejected", state.message
    assert [gate for gate, _ in gates.pages] == ["inputs", "inputs", "plan"]
    first, second, page = (page for _, page in gates.pages)
    assert (
        "reader is to read the instruction a second time, before the plan. One call, < 0.01 USD expected, 0.01 USD"
        in first
    )
    assert "reader reads epochs as 3, and the grammar does not." in second
    assert "LoRA ranks was read as 8, and by reader as 16" in second
    assert "**Second reading** (agreed to in the form) by reader: the same 1 field, another 2 fields" in page
    [body] = reader.bodies
    assert body["response_format"]["json_schema"]["name"] == "instruction"
    assert body["temperature"] == 0

    session = Workspace(SESSION, home)
    plan = session.read("plan.json", Plan)
    assert {(t.epochs, t.lora_rank) for t in plan.trials} == {(3, 8)}
    [paid] = [item for item in ledger(session).items.values() if item.category == CATEGORY]
    assert paid.usd == pytest.approx(320 * 2 / 1e6)  # what the endpoint billed: 300 and 20 tokens
    assert paid.reserved_usd > paid.usd
    approval = session.lines("approvals.jsonl")[0]
    assert (approval["gate"], approval["answer"]["second_reading"]) == ("inputs", "yes")
    assert approval["second_reading_usd"][1] == pytest.approx(paid.reserved_usd)


def test_a_free_one_is_done_at_once_and_an_answer_of_no_use_is_said(
    local_server, make_request, reader, answering, home
):
    with answering({"plan": REJECT}) as gates:
        state = run(make_request, local_server.url, reader, "garbage", 0.0)
    assert state.name == "Rejected", state.message
    [(_, page)] = gates.pages
    assert "**Second reading** by reader: not usable, so the first reading stands alone. no JSON: 'Well, I" in page
    assert len(reader.bodies) == 1
    assert ledger(Workspace(SESSION, home)).spent().usd == 0
