"""A run asked for in plain English: what is missing is asked at once, and a plan is changed as often as wanted."""

from __future__ import annotations

import pytest

from blocks.workspace import Workspace
from flows.preference_learning import preference_learning
from preference.plan import Plan
from preference.session import SessionRecord, SessionState

SESSION = "1779157376-41e1"
REJECT = {"decision": "reject"}


def said(parameters: dict, instruction: str, *left_out: str) -> dict:
    """The request with an instruction, and without these fields."""
    request = {k: v for k, v in parameters["request"].items() if k not in left_out}
    return {"request": {**request, "instruction": instruction, "session": SESSION}}


def run(parameters: dict):
    return preference_learning(**parameters, return_state=True)


@pytest.fixture
def server(start_local_server):
    return start_local_server()


def test_a_text_alone_makes_the_plan_and_the_plan_shows_its_words(server, make_request, answering, home):
    given = make_request(server.url)
    fields = given["request"]
    text = (
        f'Train on "{fields["dataset"]}" and evaluate on "{fields["held_out"]}" with {fields["evaluator"]}. '
        "Use tiny as the base model, learning rates 1e-4 and 2e-4, three epochs, context length 512. "
        "Budget: under $5. Water the flowers."
    )
    with answering({"plan": REJECT}) as gates:
        state = run(said(given, text, "dataset", "held_out", "evaluator", "base_model", "sweep"))
    assert state.name == "Rejected", state.message
    ((_, page),) = gates.pages
    assert "- **sweep.learning_rates**: 0.0001, 0.0002" in page
    assert "learning rates 1e-4 and 2e-4" in page
    assert "- **budget_usd**: 5" in page
    assert "Water the flowers" in page
    plan = Workspace(SESSION, home).read("plan.json", Plan)
    assert [(t.learning_rate, t.epochs) for t in plan.trials] == [(1e-4, 3), (2e-4, 3)]
    assert plan.request.budget_usd == 5


def test_all_that_is_missing_is_asked_in_one_form_before_the_plan(server, make_request, answering, home):
    given = make_request(server.url)
    fields = given["request"]
    answers = {
        "inputs": {
            "dataset": fields["dataset"],
            "base_models": "tiny",
            "evaluator": fields["evaluator"],
            "sweep_betas": "0.1",
            "decision": "go on",
        },
        "plan": REJECT,
    }
    text = "Use beta 0.1. Use beta 0.3. Use evaluator no-such-evaluator. Context length 512."
    with answering(answers) as gates:
        state = run(said(given, text, "dataset", "base_model", "evaluator", "sweep"))
    assert state.name == "Rejected", state.message
    assert [gate for gate, _ in gates.pages] == ["inputs", "plan"]
    page = gates.pages[0][1]
    assert "Which dataset?" in page
    assert "Is a sweep over the platform's models OK?" in page
    assert "Both 0.1 and 0.3 were said as beta." in page
    assert "The evaluator was not found" in page
    plan = Workspace(SESSION, home).read("plan.json", Plan)
    assert {t.beta for t in plan.trials} == {0.1}
    assert plan.bases[0].model.name == "accounts/fireworks/models/tiny"


def test_what_is_still_missing_is_asked_again_and_stop_starts_nothing(server, make_request, answering, home):
    given = make_request(server.url)
    asks = [{"evaluator": "nowhere/judge.py::evaluate", "decision": "go on"}, {"decision": "stop"}]
    with answering({"inputs": asks}) as gates:
        state = run(said(given, "", "evaluator"))
    assert state.name == "Rejected"
    assert "answered with stop: nothing was started" in state.message
    assert "there is no file nowhere/judge.py" in gates.pages[1][1]
    assert Workspace(SESSION, home).read("session.json", SessionRecord).state is SessionState.CANCELLED
    assert (Workspace(SESSION, home).folder / "final_report.md").exists()


def test_what_is_not_offered_ends_the_run_with_the_alternative(server, make_request, answering):
    with answering({}) as gates:
        state = run(said(make_request(server.url), "Run SFT on it."))
    assert state.name == "Rejected"
    assert "ORPO comes nearest" in state.message
    assert gates.pages == []


def test_a_field_wins_over_the_text_and_the_page_says_so(server, make_request, answering, home):
    given = make_request(server.url, max_active_jobs=3)
    with answering({"plan": REJECT}) as gates:
        run(said(given, "Run up to 10 training jobs in parallel, with LoRA rank 16."))
    page = gates.pages[0][1]
    assert "max_active_jobs is 3, as its field says; the text says 10" in page
    plan = Workspace(SESSION, home).read("plan.json", Plan)
    assert plan.request.max_active_jobs == 3
    assert {t.lora_rank for t in plan.trials} == {16}


def test_a_plan_is_changed_as_often_as_wanted(server, make_request, answering, home):
    changes = [
        {"decision": "change", "change": "Three epochs, ranks 8 and 16. Sing a song.", "budget": "$7.50"},
        {"decision": "change", "change": "Use Qwen9 99B instead, rank 5, and no more than 2 jobs at once."},
        {"decision": "change", "change": "context length 16000000"},
        {"decision": "change", "change": "use accounts/a/datasets/other"},
        REJECT,
    ]
    with answering({"plan": changes}) as gates:
        state = run(said(make_request(server.url), ""))
    assert state.name == "Rejected", state.message
    pages = [page for _, page in gates.pages]
    assert len(pages) == 5
    assert "Change 1:" in pages[1]
    assert "Sing a song" in pages[1]
    assert "Budget: 7.50 USD" in pages[1]
    assert pages[1].count("| DPO |") == 2
    assert "no model is called 'Qwen9 99B'" in pages[2]
    assert "LoRA rank 5 is not offered" in pages[2]
    assert "At most 2 jobs at once" in pages[2]
    assert "None of this change is done: max_context_length is 16000000" in pages[3]
    assert "the dataset is fixed once it was fetched" in pages[4]
    plan = Workspace(SESSION, home).read("plan.json", Plan)
    assert [(t.lora_rank, t.epochs) for t in plan.trials] == [(8, 3), (16, 3)]
    assert plan.request.budget_usd == 7.5


def test_a_key_in_a_change_is_refused_and_written_nowhere(server, make_request, answering, home, caplog):
    key = "token=a1b2c3d4e5f6a7b8c9d0"
    with answering({"plan": [{"decision": "change", "change": f"Use 3 epochs, {key}"}, REJECT]}) as gates:
        state = run(said(make_request(server.url), ""))
    assert state.name == "Rejected", state.message
    assert "> the text holds what looks like a key" in gates.pages[1][1]
    assert key not in caplog.text
    session = Workspace(SESSION, home).folder
    assert not [file for file in session.rglob("*") if file.is_file() and key.encode() in file.read_bytes()]


def test_a_changed_and_approved_plan_is_what_runs(server, make_request, answering, home):
    answers = {
        "plan": [{"decision": "change", "change": "rank 16, at most 8 tokens per answer"}, {"decision": "approve"}],
        "comparison": {"decision": "stop"},
    }
    with answering(answers):
        state = run(said(make_request(server.url), ""))
    assert state.name == "NotPromoted", state.message
    workspace = Workspace(SESSION, home)
    plan = workspace.read("plan.json", Plan)
    assert (plan.trials[0].lora_rank, plan.request.sampling.max_tokens) == (16, 8)
    assert [r["answer"]["decision"] for r in workspace.lines("approvals.jsonl")] == ["change", "approve", "stop"]
    from tasks.verifying import verify

    assert verify(workspace) == []


def test_fields_of_the_form_that_contradict_each_other_are_asked_about_and_fail_nothing(
    server, make_request, answering, home
):
    given = make_request(server.url, rubric="Short is better.", stop_at_target=True, session=SESSION)
    evaluator = given["request"]["evaluator"]
    with answering({"inputs": {"evaluator": evaluator, "target_win_rate": "70%"}, "plan": REJECT}) as gates:
        state = run(given)
    assert state.name == "Rejected", state.message
    assert [gate for gate, _ in gates.pages] == ["inputs", "plan"]
    assert "what belongs to a judge was given, too (rubric)" in gates.pages[0][1]
    plan = Workspace(SESSION, home).read("plan.json", Plan)
    request = plan.request
    assert (request.evaluator, request.rubric) == (evaluator, "")
    assert (request.target_win_rate, request.stop_at_target) == (0.7, True)
