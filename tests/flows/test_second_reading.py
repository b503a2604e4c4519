"""An instruction read a second time by a model: only after a yes to its price, and every difference is asked."""

from __future__ import annotations

import json
import signal

import pytest

from blocks.judge import JudgeEndpoint
from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.instruction_second import UnusableReading
from preference.plan import Plan
from tasks.second_reading import CATEGORY, most_usd, read_second_time
from tasks.spending import ledger
from tests.flows.test_recovery import start, state_of, wait_for
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
    change = {"sweep.epochs": {"value": [4], "words": "five epochs"}, "sweep.betas": {"value": [0.2], "words": "0.2"}}
    served = ScriptedJudges(
        lambda conversation, one, other: None, settings=lambda text: change if "five" in text else read
    )
    yield served
    served.stop()


def asked(
    make_request, url: str, reader: ScriptedJudges, model: str, usd: float, *, text: str = TEXT, **fields
) -> dict:
    """The flow's parameters. usd: per million tokens, of both kinds; -1 is unknown."""
    prices = {"usd_per_million_prompt_tokens": usd, "usd_per_million_completion_tokens": usd}
    endpoint = JudgeEndpoint(base_url=reader.url, model=model, read_timeout_s=0.3, patience_s=0.5, **prices)
    endpoint.save("reader", overwrite=True)
    given = make_request(url, instruction=text, second_reading="reader", session=SESSION, **fields)
    return {"request": {k: v for k, v in given["request"].items() if k != "base_model" or not text}}


def run(*args, **fields):
    return preference_learning(**asked(*args, **fields), return_state=True)


def kill(process) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


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
        "reader is to read the instruction a second time, before the plan. One call, 0.01 USD expected, 0.01 USD"
        in first
    )
    assert "reader reads epochs as 3, and the grammar does not." in second
    assert "LoRA ranks was read as 8, and by reader as 16" in second
    assert ("Nothing has been spent so far." in first, "< 0.01 USD spent so far." in second) == (True, True)
    assert (
        "**Second reading** (agreed to in the form, < 0.01 USD) by reader: the same 1 field, another 2 fields" in page
    )
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


def test_where_both_readings_agree_nothing_is_asked(local_server, make_request, reader, answering, home):
    text = "Use tiny, three rounds."
    reader.settings = lambda text: {"base_models": {"value": ["tiny"], "words": "Use tiny"}}
    with answering({"plan": REJECT}) as gates:
        run(make_request, local_server.url, reader, "perfect", 0.0, text=text)
    [(_, page)] = gates.pages
    assert "**Second reading** (free) by reader: the same in all of it (1 field)." in page


def test_a_policy_pays_for_it_and_a_difference_waits_for_a_human(
    local_server, make_request, reader, answering, home, price_book
):
    asks = [{"sweep_epochs": "3", "sweep_lora_ranks": "8", "decision": "go on"}]
    with answering({"inputs": asks, "plan": REJECT}) as gates:
        run(make_request, local_server.url, reader, "perfect", 2.0, auto_approve_up_to_usd=1.0, price_book=price_book)
    assert [gate for gate, _ in gates.pages] == ["inputs", "plan"], "the plan is dearer than its limit"
    assert "reader reads epochs as 3, and the grammar does not." in gates.pages[0][1]
    [approval] = [one for one in Workspace(SESSION, home).lines("approvals.jsonl") if one["gate"] == "reading"]
    assert approval["policy"] == "auto_approve_up_to_usd 1"
    assert approval["second_reading_usd"][1] < 0.02


@pytest.mark.parametrize(("usd", "limit"), [(2.0, 0.001), (-1.0, 10.0)], ids=["above the limit", "unknown price"])
def test_a_policy_does_not_pay_for_what_it_does_not_cover(
    local_server, make_request, reader, answering, home, price_book, usd, limit
):
    with answering({"inputs": {"second_reading": "no", "decision": "go on"}, "plan": REJECT}) as gates:
        limits = {"auto_approve_up_to_usd": limit, "price_book": price_book}
        run(make_request, local_server.url, reader, "perfect", usd, **limits)
    assert [gate for gate, _ in gates.pages] == ["inputs", "plan"]
    assert "One call, " in gates.pages[0][1]
    assert ("at a price that is not known" in gates.pages[0][1]) == (usd < 0)
    assert reader.bodies == []


@pytest.mark.parametrize(
    ("model", "fields", "told"),
    [
        ("locked", {}, "the endpoint turned the call away ("),
        ("hang", {}, "no answer: "),
        ("perfect", {"budget_usd": 0.0001}, "of budget_usd < 0.01 are spent or promised"),
    ],
)
def test_what_keeps_it_from_being_done_is_said_and_the_run_goes_on(
    local_server, make_request, reader, answering, home, model, fields, told
):
    asks = {"second_reading": "yes", "decision": "go on"}
    with answering({"inputs": asks, "plan": REJECT}) as gates:
        state = run(make_request, local_server.url, reader, model, 2.0, **fields)
    assert state.name == "Rejected", state.message
    page = gates.pages[-1][1]
    assert gates.pages[-1][0] == "plan"
    assert "**Second reading** by reader: not usable, so the first reading stands alone." in page
    assert told in page
    assert "**sweep.lora_ranks**: 8 " in page
    spent = ledger(Workspace(SESSION, home)).spent()
    assert (spent.usd, bool(spent.open)) == (0, model == "hang"), "a call that was not answered may be billed"
    assert len(reader.bodies) == (0 if fields else 1) or model == "hang"


def test_a_change_is_read_twice_as_well(local_server, make_request, reader, answering, home):
    asks = [
        {"second_reading": "yes", "decision": "go on"},
        {"sweep_epochs": "3", "sweep_lora_ranks": "8", "decision": "go on"},
    ]
    change = {"decision": "change", "change": "Train for five epochs with beta 0.2."}
    with answering({"inputs": asks, "plan": [change, REJECT]}) as gates:
        state = run(make_request, local_server.url, reader, "perfect", 2.0)
    assert state.name == "Rejected", state.message
    page = gates.pages[-1][1]
    assert "**sweep.betas**: 0.2" in page
    assert "epochs was read as 5, and by reader as 4 (“five epochs”). Which is meant?" in page
    assert "(agreed to in the form, < 0.01 USD) by reader: the same 1 field, another 1 field" in page
    plan = Workspace(SESSION, home).read("plan.json", Plan)
    assert {(t.epochs, t.beta) for t in plan.trials} == {(3, 0.2)}, "what differs is not taken"
    paid = [item.usd for item in ledger(Workspace(SESSION, home)).items.values() if item.category == CATEGORY]
    assert paid == [pytest.approx(320 * 2 / 1e6)] * 2


def test_a_change_to_a_run_without_an_instruction_asks_for_its_price_first(
    local_server, make_request, reader, answering, home
):
    change = {"decision": "change", "change": "Train for five epochs with beta 0.2."}
    with answering({"plan": [change, REJECT], "reading": {"decision": "approve", "name": "Ada"}}) as gates:
        run(make_request, local_server.url, reader, "perfect", 2.0, text="")
    assert [gate for gate, _ in gates.pages] == ["plan", "reading", "plan"]
    assert "> Train for five epochs with beta 0.2." in gates.pages[1][1]
    assert "By reader: one call, 0.01 USD expected, 0.01 USD at most." in gates.pages[1][1]
    assert "(approved at the gate, < 0.01 USD) by reader" in gates.pages[2][1]


def test_a_reader_that_did_not_answer_is_not_asked_again_when_the_session_goes_on(reader, tmp_path, prefect):
    free = {"usd_per_million_prompt_tokens": 0, "usd_per_million_completion_tokens": 0}
    endpoint = JudgeEndpoint(base_url=reader.url, model="hang", read_timeout_s=0.3, patience_s=0.5, **free)
    told = []
    for _ in range(2):
        with pytest.raises(UnusableReading, match="no answer: ") as error:
            read_second_time.fn(Workspace(SESSION, tmp_path), endpoint, TEXT, None)
        told.append((str(error.value), len(reader.bodies)))
    assert told[0] == told[1]


@pytest.mark.slow
def test_what_a_policy_paid_is_not_paid_again_after_kill_9(local_server, make_request, reader, home, answering):
    """Its own cost, which is spent by then, would put a second call above the limit."""
    parameters = asked(make_request, local_server.url, reader, "perfect", 2.0)
    most = most_usd(JudgeEndpoint.load("reader"), TEXT)[1]
    parameters["request"]["auto_approve_up_to_usd"] = 1.01 * most
    session = Workspace(SESSION, home)
    killed, process = start(parameters)
    wait_for(lambda: state_of(killed).is_paused(), "the question about what differs")
    paid, approved = session.lines("ledger.jsonl"), session.lines("approvals.jsonl")
    assert (len(paid), [line["gate"] for line in approved]) == (2, ["reading"])
    kill(process)
    differing = {"sweep_epochs": "3", "sweep_lora_ranks": "8", "decision": "go on"}
    with answering({"inputs": differing, "comparison": {"decision": "stop"}}) as gates:
        _, process = start(parameters)
        assert process.wait(180) == 0
    assert [gate for gate, _ in gates.pages] == ["inputs", "comparison"]
    assert len(reader.bodies) == 1
    assert [line for line in session.lines("ledger.jsonl") if line["category"] == CATEGORY] == paid
    assert session.lines("approvals.jsonl")[:1] == approved
    policies = [(line["gate"], line["policy"].split(" ")[0]) for line in session.lines("approvals.jsonl")]
    limit = "auto_approve_up_to_usd"
    assert policies == [("reading", limit), ("inputs", ""), ("plan", limit), ("comparison", "")]
    assert ledger(session).spent().usd == pytest.approx(320 * 2 / 1e6)
    assert f"(approved by {limit} {1.01 * most:g}, < 0.01 USD) by reader" in session.path("plan.md").read_text()


@pytest.mark.slow
def test_a_change_that_was_read_for_money_is_not_asked_for_again_after_kill_9(
    local_server, make_request, reader, home, answering
):
    """The first page, which it answered, was shown before its reading was paid."""
    parameters = asked(make_request, local_server.url, reader, "perfect", 2.0, text="")
    change = {"decision": "change", "change": "Train for five epochs with beta 0.2."}
    session = Workspace(SESSION, home)
    with answering({"plan": change, "reading": {"decision": "approve"}}):
        killed, process = start(parameters)
        wait_for(lambda: len(session.lines("approvals.jsonl")) == 2, "the change and its price to be answered")
        wait_for(lambda: state_of(killed).is_paused(), "the changed plan")
    page = session.path("plan.md").read_text()
    kill(process)
    with answering({"plan": REJECT}) as gates:
        _, process = start(parameters)
        assert process.wait(180) == 0
    assert [(gate, json.loads(shown)) for gate, shown in gates.pages] == [("plan", page)]
    assert "**sweep.betas**: 0.2" in page
    assert len(reader.bodies) == 1
