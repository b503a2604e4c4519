"""The items that are about money, and about how long a gate waits for an answer."""

from __future__ import annotations

from collections.abc import Iterator

from preference.instruction_said import Found, Rule, Said


def _usd(said: Said) -> tuple[float | None, str]:
    """(amount, question)"""
    if other := said.of("OTHERMONEY"):
        return None, f"Prices are in US dollars, and {other[0].text!r} is another currency. How many dollars?"
    if doubt := said.doubt("amount in dollars"):
        return None, doubt
    amount = sum(a.value for a in said.of("MONEY"))
    if not said.has("MONEY"):
        values = [float(a.value) for a in said.of("INT", "DEC", "SCI", "FRAC")]
        if said.has("CENTS"):
            values[-1] /= 100
        amount = sum(values)
    return round(amount, 6), ""


def _budget(said: Said) -> Iterator[Found]:
    amount, question = _usd(said)
    bare = said.item.rule == "bare_budget"
    unit = said.has("MONEY", "USD", "CENTS")
    yield Found(
        field="budget_usd", value=amount, question=question, bare=bare, note="" if unit else "taken as US dollars"
    )


def _budget_over(said: Said) -> Iterator[Found]:
    yield Found(field="budget_usd", question="A budget is a ceiling, and this is a floor. How many dollars at most?")


def _budget_per(said: Said) -> Iterator[Found]:
    yield Found(
        field="budget_usd", question="The budget is for the whole run, not for a part. How many dollars in all?"
    )


def _no_budget(said: Said) -> Iterator[Found]:
    yield Found(field="budget_usd", value=None)


def _auto_approve(said: Said) -> Iterator[Found]:
    amount, question = _usd(said)
    yield Found(field="auto_approve_up_to_usd", value=amount, question=question)


def _unasked(said: Said) -> Iterator[Found]:
    yield Found(
        field="auto_approve_up_to_usd",
        bare=True,
        question="Up to how many dollars is the plan approved without asking?",
    )
    if said.has("UNASKED"):
        yield Found(field="auto_promote", bare=True, question="Is a clear winner deployed without asking?")


def _gate_days(said: Said) -> Iterator[Found]:
    if doubt := said.doubt("number of days"):
        yield Found(field="gate_timeout_days", question=doubt)
        return
    n = said.numbers()[0]
    yield Found(field="gate_timeout_days", value=n / 24 if said.has("HOURS") else n)


RULES: dict[str, Rule] = {
    "budget": _budget,
    "bare_budget": _budget,
    "budget_over": _budget_over,
    "budget_per": _budget_per,
    "budget_part": _budget_per,
    "no_budget": _no_budget,
    "auto_approve": _auto_approve,
    "unasked": _unasked,
    "ask_above": _auto_approve,
    "gate_days": _gate_days,
}
