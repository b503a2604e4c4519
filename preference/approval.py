"""Who may say yes to what: the limits of unattended runs, what one approval covers, and how both are told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from preference.cost import total, usd_text
from preference.estimates import EstimateError
from preference.ledger import Entry, Ledger, Spent
from preference.plan import Plan


class Price(BaseModel):
    """What an approval was given for, in USD; None is unknown."""

    usd_low: float | None
    usd: float | None
    usd_high: float | None
    spent_usd: float  # known, before it

    def text(self) -> str:
        return f"{' – '.join(usd_text(x) for x in (self.usd_low, self.usd, self.usd_high))} USD"


class Beside(BaseModel):
    """What a plan's page tells beside the plan, as it was when it was answered: it grows while the plan is done."""

    spent: Spent
    past: list[EstimateError]


def page_sha256(page: str) -> str:
    """What an answer is kept under."""
    return hashlib.sha256(page.encode()).hexdigest()


def plan_price(plan: Plan) -> Price:
    sums = total(plan.lines)
    return Price(usd_low=sums.usd_low, usd=sums.usd, usd_high=sums.usd_high, spent_usd=plan.spent.usd)


def told_beside(plan: Plan) -> Beside:
    return Beside(spent=plan.spent, past=plan.past)


def line_price(plan: Plan, what: str, spent_usd: float) -> Price:
    """One line of the plan by itself."""
    line = next(line for line in plan.lines if line.what == what)
    return Price(usd_low=line.usd_low, usd=line.usd, usd_high=line.usd_high, spent_usd=spent_usd)


def plan_policy(plan: Plan) -> str | None:
    """The policy that approves this plan unattended, in words; None where a human is to be asked.

    The limit holds for the high estimate together with all that was spent before, or may have been. What is not
    known is within no limit.
    """
    limit = plan.request.auto_approve_up_to_usd
    most = most_usd(plan)
    if limit is None or most is None or most > limit:
        return None
    return f"auto_approve_up_to_usd {usd_text(limit)}, which {usd_text(most)} does not pass"


def why_it_waits(plan: Plan) -> str:
    """What a run with a limit says where the limit does not answer; "" without a limit."""
    limit, most = plan.request.auto_approve_up_to_usd, most_usd(plan)
    if limit is None or plan_policy(plan) is not None:
        return ""
    found = "has an unknown price" if most is None else f"may cost up to {usd_text(most)} USD in all"
    return f"auto_approve_up_to_usd is {usd_text(limit)}, and the plan {found}: it waits for a human."


def most_usd(plan: Plan) -> float | None:
    """The plan's high estimate and all that was spent before it; None where either is unknown."""
    high, before = total(plan.lines).usd_high, plan.spent.at_most_usd
    return None if high is None or before is None else high + before


def beyond_plan(plan: Plan, bought: Ledger, step: Entry, approvals: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a step that is about to be reserved is new spending, which no approval covers.

    approvals: the records of approvals.jsonl. The plan's covers its high total, on top of what was spent before it;
    each approval of new spending adds its own. A step of unknown price was accepted with the plan, once.
    """
    others = Ledger(items={name: item for name, item in bought.items.items() if name != step.resource})
    more = [r for r in approvals if r["gate"] == "spending" and r["answer"]["decision"] == "approve"]
    if step.usd is None:
        n_accepted: int = sum(r["category"] == step.category for r in more)
        return others.spent(step.category).n_bought > n_accepted
    covered = plan.spent.usd if plan.spent.at_most_usd is None else plan.spent.at_most_usd
    covered += sum(line.usd_high or 0.0 for line in plan.lines)
    covered += sum(float(r["cost"]["usd_high"] or 0.0) for r in more)
    return step.usd > 0 and others.committed_usd + step.usd > covered + 1e-9


def approval_text(record: Mapping[str, Any]) -> str:
    """A record of approvals.jsonl, for the report: what, by whom or what, when, at what cost."""
    answer = record.get("answer")
    told = answer if isinstance(answer, dict) else {}
    decision = str(told.get("decision"))
    if told.get("candidate"):
        decision += f" {told['candidate']}"
    who = f" by {told['name']}" if told.get("name") else ""
    by = f" by policy: {record['policy']}" if record.get("policy") else who
    cost = f", at {Price.model_validate(record['cost']).text()}" if record.get("cost") else ""
    if reading := record.get("second_reading_usd"):
        cost += f", a second reading priced at {usd_text(reading[1])} USD at most"
    return f"{record.get('gate')} gate: {decision}{by}, {record.get('at')}{cost}"
