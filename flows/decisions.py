"""The decisions after the plan's: what the comparison comes to, whether it is deployed, and whether more is spent."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from prefect.input import RunInput
from pydantic import Field

from blocks.workspace import Workspace
from flows.forms import your_name
from flows.gates import RunRejected, gate
from preference.approval import beyond_plan, line_price
from preference.comparison import why_not_promoted
from preference.comparison_page import comparison_markdown, headline_text
from preference.cost import usd_text
from preference.evaluator_plan import EvaluatorSummary
from preference.judge_plan import PAIR_JUDGING
from preference.ledger import Entry, Kind
from preference.pair_plan import STRONG_ANSWERS, WEAK_ANSWERS
from preference.plan import Plan
from preference.plan_lines import FIRST_HOUR
from preference.qualification import WHAT_CAN_BE_DONE, Qualification, qualification_markdown
from preference.session import resource
from preference.settings import AutoPromote
from preference.standings import Comparison, Contestant
from tasks.spending import ledger, next_life

_ROLES = {
    FIRST_HOUR: "winner",
    STRONG_ANSWERS: "pairs-strong",
    WEAK_ANSWERS: "pairs-weak",
    PAIR_JUDGING: "judge",
}


class ComparisonDecision(StrEnum):
    CONTINUE = "continue"
    PROMOTE = "promote"
    STOP = "stop"


class ComparisonAnswer(RunInput):
    """What to do with the comparison."""

    decision: ComparisonDecision = Field(
        title="Decision",
        description="Continue asks about deploying the proposed candidate if it is a clear winner. Promote deploys the "
        "candidate named below. Stop deploys nothing.",
        json_schema_extra={"position": 0},
    )
    candidate: str = Field(
        "",
        title="Candidate",
        description="Only for promote: its name in the table, such as t3.",
        max_length=100,
        json_schema_extra={"position": 1, "only_for": [ComparisonDecision.PROMOTE.value]},
    )
    name: str = your_name(2)


class YesNo(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


class PromotionAnswer(RunInput):
    """Deploy the clear winner at this price, or not."""

    decision: YesNo = Field(
        title="Decision",
        description="Approve deploys it. Reject deploys nothing; the tuned model stays on the platform.",
        json_schema_extra={"position": 0},
    )
    name: str = your_name(1)


class SpendingAnswer(RunInput):
    """Spend more than the approved plan covers, or end here."""

    decision: YesNo = Field(
        title="Decision",
        description="Approve goes on. Reject ends the run with what it has, and nothing more spent.",
        json_schema_extra={"position": 0},
    )
    name: str = your_name(1)


class SpendingRejected(Exception):
    """New spending was asked for and not approved."""


def approve_new_spending(workspace: Workspace, plan: Plan, category: str) -> None:
    """Ask before a step that the approved plan does not cover any more; no policy answers that.

    category: the plan's line whose step is about to be taken (again). Raises SpendingRejected.
    """
    bought = ledger(workspace)
    name = resource(workspace.session, _ROLES.get(category, "eval"))
    if category != FIRST_HOUR:
        name = next_life(workspace, name)
    price = line_price(plan, category, bought.spent().usd)
    step = Entry(kind=Kind.RESERVED, resource=name, category=category, usd=price.usd_high)
    if not beyond_plan(plan, bought, step, workspace.lines("approvals.jsonl")):
        return
    page = (
        f"# More than the plan that was approved\n\n{category} ({name}): **{price.text()}** "
        f"(low – expected – high).\n\n{bought.spent().text()}"
    )
    answer = gate(
        workspace,
        SpendingAnswer,
        "spending",
        page,
        timeout_days=plan.request.gate_timeout_days,
        facts={"category": category, "cost": price.model_dump()},
    )
    if answer.decision is not YesNo.APPROVE:
        raise SpendingRejected(f"more spending than the plan covers was not approved: {category.lower()}")


class JudgeDecision(StrEnum):
    CONTINUE = "continue"
    STOP = "stop"


class JudgeAnswer(RunInput):
    """Go on with a judge that is below the line, or not."""

    decision: JudgeDecision = Field(
        title="Decision",
        description="Stop ends the run before anything is trained: give an evaluator by code, or another judge. "
        "Continue trains and compares by this judge all the same; no candidate is then called a clear winner.",
        json_schema_extra={"position": 0},
    )
    name: str = your_name(1)


class EvaluatorAnswer(JudgeAnswer):
    """Go on with an evaluator that failed its trial, or not."""

    decision: JudgeDecision = Field(
        title="Decision",
        description="Stop ends the run before anything is trained: mend the evaluator. Continue trains and scores by "
        "it all the same.",
        json_schema_extra={"position": 0},
    )


class SandboxAnswer(JudgeAnswer):
    """Run an evaluator's code without a sandbox, or not."""

    decision: JudgeDecision = Field(
        title="Decision",
        description="Continue runs it unsandboxed, with all that this user may do: only for code that you trust. "
        "Stop ends the run before anything is planned.",
        json_schema_extra={"position": 0},
    )


class JudgeNotTrusted(Exception):
    """A judge or an evaluator is below the line, and a human said stop; the message has the reasons."""


def accept_unsandboxed(workspace: Workspace, code: EvaluatorSummary, why_not: str, *, timeout_days: float) -> None:
    """A human accepts that the evaluator runs without a sandbox, never a policy. Raises RunRejected."""
    page = (
        f"# There is no sandbox here for {code.name}\n\n{why_not[0].upper()}{why_not[1:]}\n\n"
        f"- `{code.entry_point}`, {code.size}, sha256 `{code.sha256}`\n"
        f"- Requirements: {', '.join(code.requirements) or 'none'}\n\n"
        "*Continue* runs it unsandboxed: it can then read and change what this user can, and use the network.\n"
    )
    answer = gate(workspace, SandboxAnswer, "sandbox", page, timeout_days=timeout_days)
    if answer.decision is not JudgeDecision.CONTINUE:
        raise RunRejected(f"{code.name} may not run without a sandbox, and there is none here: nothing was started.")


def require_sound(workspace: Workspace, name: str, faults: list[str], plan: Plan) -> None:
    """An evaluator without a fault may score; about another one a human is asked. Raises JudgeNotTrusted."""
    if not faults:
        return
    told = "\n".join(f"- {fault}" for fault in faults)
    page = (
        f"# {name} failed its trial\n\nIt was run on the answers of some training pairs, twice:\n\n{told}\n\n"
        "Its scores must be between 0 and 1, tell answers apart, and be the same when asked again.\n"
    )
    answer = gate(workspace, EvaluatorAnswer, "evaluator", page, timeout_days=plan.request.gate_timeout_days)
    if answer.decision is not JudgeDecision.CONTINUE:
        raise JudgeNotTrusted(f"the evaluator was not trusted, and nothing was trained: {'; '.join(faults)}")


def require_trust(workspace: Workspace, tried: Qualification, plan: Plan) -> None:
    """A qualified judge may decide; about another one a human is asked, never a policy. Raises JudgeNotTrusted."""
    if tried.qualified:
        return
    page = f"# {tried.judge} is below the line\n\n{qualification_markdown(tried)}\n{WHAT_CAN_BE_DONE}\n"
    answer = gate(workspace, JudgeAnswer, "judge", page, timeout_days=plan.request.gate_timeout_days)
    if answer.decision is not JudgeDecision.CONTINUE:
        raise JudgeNotTrusted(f"the judge was not trusted, and nothing was trained: {'; '.join(tried.reasons)}")


@dataclass(frozen=True)
class Review:
    """What the comparison came to: what is to be deployed, or why nothing is."""

    winner: Contestant | None
    why_not: str = ""


def review(workspace: Workspace, comparison: Comparison, plan: Plan) -> Review:
    """The comparison gate, and after *continue* with a clear winner the promotion gate."""
    timeout_days = plan.request.gate_timeout_days
    refusal, n_refused = "", 0
    candidates = {s.contestant.name: s.contestant for s in comparison.candidates}
    page = comparison_markdown(comparison) + what_answers_do(comparison, plan)
    unattended = None
    if plan.request.auto_promote is AutoPromote.CLEAR_WINNER:
        unattended = ("auto_promote clear_winner", ComparisonAnswer(decision=ComparisonDecision.CONTINUE))
    while True:
        answer = gate(
            workspace, ComparisonAnswer, "comparison", refusal + page, timeout_days=timeout_days, policy=unattended
        )
        if answer.decision is ComparisonDecision.STOP:
            return Review(None, "nothing was deployed, as told at the comparison gate")
        if answer.decision is ComparisonDecision.CONTINUE:
            if not comparison.clear or comparison.proposed is None:
                return Review(None, "nothing was deployed: " + " ".join(comparison.reasons))
            if not promote(workspace, comparison, plan):
                return Review(None, f"{comparison.proposed} was not deployed, as told at the promotion gate")
            return Review(candidates[comparison.proposed])
        named = answer.candidate.strip()
        why_not = why_not_promoted(comparison, named) if named in candidates else f"There is no candidate {named!r}"
        if not why_not:
            return Review(candidates[named])
        n_refused += 1  # a page of its own each time: the same answer to the same page would be found, not asked for
        refusal = f"> {n_refused}. {why_not}; there are {', '.join(candidates)}.\n\n"


def promote(workspace: Workspace, comparison: Comparison, plan: Plan) -> bool:
    """The promotion gate: whether the clear winner is to be deployed at its price."""
    price = line_price(plan, FIRST_HOUR, ledger(workspace).spent().usd)
    shown = headline_text(comparison.headline) if comparison.headline else ""
    unattended = None
    if plan.request.auto_promote is AutoPromote.CLEAR_WINNER:
        unattended = ("auto_promote clear_winner", PromotionAnswer(decision=YesNo.APPROVE))
    answer = gate(
        workspace,
        PromotionAnswer,
        "promotion",
        f"# Deploy {comparison.proposed}?\n\n{shown}\n\n{deployment_text(plan)}",
        timeout_days=plan.request.gate_timeout_days,
        facts={"cost": price.model_dump()},
        policy=unattended,
        now=ledger(workspace).spent().text(),
    )
    return answer.decision is YesNo.APPROVE


def what_answers_do(comparison: Comparison, plan: Plan) -> str:
    """What each answer at the comparison gate comes to, with the price of a deployment."""
    if comparison.clear:
        to_continue = f"*Continue* asks whether to deploy {comparison.proposed}"
    else:
        to_continue = "*Continue* deploys nothing, since there is no clear winner"
    return (
        f"\n{to_continue}. *Promote* deploys the candidate that you name; another than the proposed one is reported "
        f"as unconfirmed. *Stop* deploys nothing. {deployment_text(plan)}\n"
    )


def deployment_text(plan: Plan) -> str:
    line = next(line for line in plan.lines if line.what == FIRST_HOUR)
    return (
        f"The deployment ({line.quantity}) costs {usd_text(line.usd)} USD in its first hour, "
        "and as much in every further hour in which it is awake."
    )
