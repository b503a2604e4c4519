from __future__ import annotations

from datetime import date

import pytest

from preference.approval import approval_text, beyond_plan, plan_policy, why_it_waits
from preference.bases import DataSize, named_bases
from preference.cost import PriceBook, Throughput
from preference.evaluator_plan import EvaluatorSummary
from preference.ledger import Entry, Kind, Ledger
from preference.plan import Plan, draft_plan
from preference.plan_lines import FIRST_HOUR, SAMPLING
from preference.settings import PreferenceRequest
from preference.wire import Model

SPEED = Throughput(
    job_overhead_s=1,
    training_tokens_per_s=1e3,
    deployment_start_s=1,
    generation_tokens_per_s=1e3,
    evaluator_rows_per_s=1,
    jobs_at_once=1,
)
DATA = DataSize(
    n_train=10,
    n_held_out=12,
    n_selection=6,
    n_confirmation=6,
    train_prompt_tokens=250,
    train_chosen_tokens=250,
    train_rejected_tokens=250,
    held_out_prompt_tokens=100,
    exact=True,
    n_over_context=0,
)


def book(**prices) -> PriceBook:
    given = {"dpo_usd_per_million_tokens": [{"usd": 1000}], "accelerator_usd_per_hour": {"*": 0}, **prices}
    return PriceBook(name="mine", as_of=date(2026, 11, 24), sources=[], throughput=SPEED, **given)


def plan(prices: PriceBook | None = None, spent: Ledger | None = None, **fields) -> Plan:
    """One trial of 1000 tokens: 1 USD expected, 1.30 at most; deployments are free unless priced."""
    sweep = {"learning_rates": [1e-5], "betas": [0.1]}
    asked = PreferenceRequest.model_validate(
        {"dataset": "d", "base_model": "m", "evaluator": "e", "sweep": sweep, **fields}
    )
    judge = EvaluatorSummary(name="e", entry_point="a::f", sha256="0", n_bytes=1, requirements=[], n_files=1)
    session = "1779157376-41e1"
    bases = named_bases([Model(name="m")], [DATA])
    return draft_plan(session, asked, bases, judge, prices or book(), (spent or Ledger()).spent())


def bought(resource: str, category: str, usd: float | None, kind: Kind = Kind.SETTLED) -> Entry:
    return Entry(kind=kind, resource=resource, category=category, usd=usd)


def test_the_high_estimate_decides_whether_a_limit_approves():
    assert plan_policy(plan(auto_approve_up_to_usd=1.31)) == "auto_approve_up_to_usd 1.31, which 1.30 does not pass"
    above = plan(auto_approve_up_to_usd=1.29)
    assert plan_policy(above) is None
    assert why_it_waits(above) == (
        "auto_approve_up_to_usd is 1.29, and the plan may cost up to 1.30 USD in all: it waits for a human."
    )


def test_without_a_limit_a_human_is_asked_and_nothing_is_said():
    assert plan_policy(plan()) is None
    assert why_it_waits(plan()) == ""


def test_a_limit_of_nothing_approves_what_is_free_and_only_that():
    free = book(dpo_usd_per_million_tokens=[{"usd": 0}])
    assert plan_policy(plan(free, auto_approve_up_to_usd=0)) is not None
    assert plan_policy(plan(auto_approve_up_to_usd=0)) is None


def test_an_unknown_price_is_within_no_limit():
    unknown = plan(book(accelerator_usd_per_hour={}), auto_approve_up_to_usd=1e6)
    assert plan_policy(unknown) is None
    assert "the plan has an unknown price" in why_it_waits(unknown)


def test_what_was_spent_before_counts_towards_the_limit_also_where_it_is_only_bounded():
    for entries in ([bought("j", "Training", 0.5)], [bought("j", "Training", 0.5, Kind.RESERVED)]):
        before = Ledger.of(entries)
        assert plan_policy(plan(spent=before, auto_approve_up_to_usd=1.7)) is None
        assert plan_policy(plan(spent=before, auto_approve_up_to_usd=1.9)) is not None
    boundless = Ledger.of([bought("j", "Training", None)])
    assert plan_policy(plan(spent=boundless, auto_approve_up_to_usd=1e6)) is None


def test_a_step_is_new_spending_when_all_that_was_approved_does_not_hold_it_any_more():
    made = plan(book(accelerator_usd_per_hour={"*": 3600}))
    high = sum(line.usd_high for line in made.lines)
    evaluation = next(line.usd_high for line in made.lines if line.what == SAMPLING)
    step = bought("eval@1", SAMPLING, evaluation, Kind.RESERVED)
    assert not beyond_plan(made, Ledger(), step, [])
    before = Ledger.of([bought("eval@0", SAMPLING, high - evaluation + 1)])
    assert beyond_plan(made, before, step, [])
    yes = {"gate": "spending", "category": SAMPLING, "answer": {"decision": "approve"}, "cost": {"usd_high": 1.0}}
    assert not beyond_plan(made, before, step, [yes])
    assert beyond_plan(made, before, step, [{**yes, "answer": {"decision": "reject"}}])
    assert not beyond_plan(made, Ledger.of([step]), step, [])  # promised already: nothing new


def test_what_has_no_price_was_accepted_once():
    made = plan(book(accelerator_usd_per_hour={}))
    step = bought("eval@2", SAMPLING, None, Kind.RESERVED)
    assert not beyond_plan(made, Ledger(), step, [])
    assert beyond_plan(made, Ledger.of([bought("eval@1", SAMPLING, None)]), step, [])
    assert not beyond_plan(made, Ledger.of([bought("w", FIRST_HOUR, None)]), step, [])


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"answer": {"decision": "approve", "name": "Ada"}}, "plan gate: approve by Ada, now"),
        ({"answer": {"decision": "promote", "candidate": "t2"}}, "plan gate: promote t2, now"),
        (
            {"answer": {"decision": "go on", "name": "Ada"}, "second_reading_usd": [0.004, 0.0123]},
            "plan gate: go on by Ada, now, a second reading priced at 0.01 USD at most",
        ),
        (
            {
                "answer": {"decision": "approve", "name": ""},
                "policy": "auto_approve_up_to_usd 5.00, which 3.00 does not pass",
                "cost": {"usd_low": 1, "usd": 2, "usd_high": None, "spent_usd": 0},
            },
            "plan gate: approve by policy: auto_approve_up_to_usd 5.00, which 3.00 does not pass, now, "
            "at 1.00 – 2.00 – unknown USD",
        ),
    ],
)
def test_the_report_says_what_was_approved_by_whom_or_what_and_at_what_cost(record, text):
    assert approval_text({"gate": "plan", "at": "now", **record}) == text
