from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.ledger import Entry, Kind, Ledger, OutOfBudget, Source, check_budget

CATEGORY = {"a": "Training", "b": "Training", "c": "Judging"}


def reserved(resource: str, usd: float | None) -> Entry:
    return Entry(kind=Kind.RESERVED, resource=resource, category=CATEGORY[resource], usd=usd)


def settled(resource: str, usd: float | None, source: Source = Source.COMPUTED) -> Entry:
    return Entry(kind=Kind.SETTLED, resource=resource, category=CATEGORY[resource], usd=usd, source=source)


AMOUNTS = st.none() | st.floats(0, 1000)
ENTRIES = st.lists(
    st.builds(reserved, st.sampled_from("abc"), AMOUNTS)
    | st.builds(settled, st.sampled_from("abc"), AMOUNTS, st.sampled_from(Source))
)


@given(ENTRIES, st.randoms(), st.data())
def test_any_order_and_any_repetition_give_the_same_ledger(entries, random, data):
    again = [*entries, *data.draw(st.lists(st.sampled_from(entries), max_size=20) if entries else st.just([]))]
    random.shuffle(again)
    assert Ledger.of(again) == Ledger.of(entries)
    assert Ledger.of(again).spent() == Ledger.of(entries).spent()
    assert Ledger.of(again).committed_usd == Ledger.of(entries).committed_usd


@given(ENTRIES, ENTRIES)
def test_what_is_known_only_grows(entries, more):
    before, after = Ledger.of(entries), Ledger.of([*entries, *more])
    assert before.items.keys() <= after.items.keys()
    assert {r for r, item in before.items.items() if item.usd is not None} <= {
        r for r, item in after.items.items() if item.usd is not None
    }


@given(ENTRIES)
def test_the_whole_is_the_sum_of_its_categories(entries):
    ledger = Ledger.of(entries)
    parts = [ledger.spent(category) for category in ledger.categories]
    assert ledger.spent().usd == pytest.approx(math.fsum(part.usd for part in parts))
    assert sorted(ledger.spent().open) == sorted(r for part in parts for r in part.open)
    assert (ledger.spent().at_most_usd is None) == any(part.at_most_usd is None for part in parts)


@given(ENTRIES, st.floats(0, 1000))
def test_steps_that_the_budget_lets_pass_never_promise_more_than_it(entries, budget):
    kept: list[Entry] = []
    for entry in entries:
        if entry.kind is Kind.RESERVED:
            try:
                check_budget(kept, entry, budget)
            except OutOfBudget:
                continue
            kept.append(entry)
    assert Ledger.of(kept).committed_usd <= budget + 1e-6


def test_known_and_unknown_are_kept_apart():
    spent = Ledger.of([reserved("a", 2.0), settled("a", 1.5), reserved("b", 3.0), settled("b", None)]).spent()
    assert (spent.usd, spent.open, spent.at_most_usd) == (1.5, ["b"], 4.5)
    assert spent.text() == "1.50 USD spent so far, and not known: b (at most 4.50 in all)."
    boundless = Ledger.of([settled("a", 1.5), reserved("b", None)]).spent()
    assert boundless.at_most_usd is None
    assert boundless.text() == "1.50 USD spent so far, and not known: b (of unknown price)."


def test_nothing_bought_is_not_the_same_as_bought_for_nothing():
    assert Ledger().spent().text() == "Nothing has been spent so far."
    assert Ledger.of([settled("a", 0.0)]).spent().text() == "0.00 USD spent so far."


def test_a_job_that_was_unknown_and_is_known_now_counts_once():
    entries = [settled("a", None), settled("a", 1.0), settled("a", 1.0), settled("a", 2.0)]
    assert Ledger.of(entries).spent().usd == 2.0  # amounts are so far in all
    assert Ledger.of([*entries, settled("a", 1.8, Source.BILLED)]).spent().usd == 1.8


def test_a_step_that_does_not_fit_is_named_with_what_is_promised():
    entries = [reserved("a", 4.0), settled("a", 3.0), reserved("b", 1.5)]
    with pytest.raises(
        OutOfBudget, match=r"c \(judging\) may cost up to 1\.00 USD more; 4\.50 of budget_usd 5\.00 are"
    ):
        check_budget(entries, reserved("c", 1.0), 5.0)
    check_budget(entries, reserved("c", 0.5), 5.0)
    check_budget(entries, reserved("b", 1.5), 4.0)  # promised already
    check_budget(entries, reserved("c", 0.0), 4.0)  # free
    check_budget(entries, reserved("c", 1e9), None)


def test_zero_dollars_is_a_budget():
    with pytest.raises(OutOfBudget, match=r"budget_usd 0\.00"):
        check_budget([], reserved("a", 0.01), 0.0)


def test_one_resource_under_two_categories_is_a_broken_ledger():
    other = Entry(kind=Kind.SETTLED, resource="a", category="Judging", usd=1.0)
    with pytest.raises(ValueError, match="as 'Training' and as 'Judging'"):
        Ledger.of([reserved("a", 1.0), other])
