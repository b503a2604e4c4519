"""Every paid step: promised before it is taken, settled when it is over, in the session's ledger."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from blocks.workspace import Workspace
from preference.cost import SCALE_DOWN_S
from preference.halving import priced_jobs
from preference.judge_plan import JUDGING, PAIR_JUDGING
from preference.ledger import Entry, Kind, Ledger, Source, check_budget
from preference.plan import Plan, trial_line
from preference.plan_lines import FIRST_HOUR, SAMPLING, TRAINING, judged_prompts
from preference.trials import Trial

LEDGER = "ledger.jsonl"
_TURN = threading.Lock()  # a session has one process: two of its threads must not both take the last dollar


class Span(BaseModel):
    """One life of a deployment that is there for a while: evaluation/<deployment>.json, until it is taken down."""

    deployment: str
    resource: str  # under which the ledger has it
    begun: datetime
    category: str = SAMPLING  # the plan's line
    settled: bool = False


def ledger(workspace: Workspace) -> Ledger:
    return Ledger.of(ledger_entries(workspace))


def nothing_or_spent(workspace: Workspace) -> str:
    """How a run that is not begun says what it cost."""
    spent = ledger(workspace).spent()
    return spent.text().rstrip(".") if spent.n_bought else "nothing was trained, nothing was spent"


def reserve(workspace: Workspace, resource: str, category: str, usd: float | None) -> None:
    """Promise the most that a step may cost, before it is taken. Raises OutOfBudget where it does not fit.

    resource: its ID, chosen beforehand; promising it again changes nothing. category: the plan's line.
    usd: None is a price that is not known.
    """
    plan = workspace.read("plan.json", Plan)
    entry = Entry(kind=Kind.RESERVED, resource=resource, category=category, usd=usd)
    with _TURN:
        check_budget(ledger_entries(workspace), entry, plan.request.budget_usd if plan else None)
        _write(workspace, entry)


def settle(
    workspace: Workspace, resource: str, category: str, usd: float | None, source: Source = Source.COMPUTED
) -> None:
    """Write down what a resource has cost so far in all; None where that cannot be known."""
    with _TURN:
        _write(workspace, Entry(kind=Kind.SETTLED, resource=resource, category=category, usd=usd, source=source))


def reserve_training(workspace: Workspace, trial: Trial) -> None:
    plan = _plan(workspace)
    reserve(workspace, trial.job_id, TRAINING, trial_line(plan, trial).usd_high)


def settle_training(workspace: Workspace, trial: Trial, *, completed: bool, refused: bool = False) -> None:
    """A job that completed costs its tokens, one that was refused nothing.

    What a failed or cancelled one is billed is unknown, unless all is free.
    """
    usd = trial_line(_plan(workspace), trial).usd
    settle(workspace, trial.job_id, TRAINING, 0.0 if refused else usd if completed or usd == 0 else None)


def begin_evaluation(
    workspace: Workspace, plan: Plan, deployment: str, share: float = 1.0, category: str = SAMPLING
) -> None:
    """Promise a deployment to evaluate on and write it down, before it is asked for.

    share: of the plan's line, which category names. Each life of a deployment is billed for itself: started again,
    it is another resource.
    """
    resource = next_life(workspace, deployment)
    span = Span(deployment=deployment, resource=resource, begun=datetime.now(UTC), category=category)
    high = next(line.usd_high for line in plan.lines if line.what == category)
    reserve(workspace, span.resource, category, None if high is None else high * share)
    workspace.write(_span_file(deployment), span)


def next_life(workspace: Workspace, deployment: str) -> str:
    n_before = sum(name.startswith(f"{deployment}@") for name in ledger(workspace).items)
    return f"{deployment}@{n_before + 1}"


def evaluation_spans(workspace: Workspace) -> list[Span]:
    """The deployments to evaluate on that have not been taken down."""
    files = sorted((workspace.folder / "evaluation").glob("*.json"))
    return [Span.model_validate_json(file.read_bytes()) for file in files]


def end_evaluation(workspace: Workspace, span: Span, until: datetime) -> None:
    """Settle its time, start-up included, as if it was billed until then."""
    plan = workspace.read("plan.json", Plan)
    if plan is None or span.settled:
        return
    seconds = max(0.0, (until - span.begun).total_seconds())
    settle(workspace, span.resource, span.category, replica_usd(plan, seconds))
    workspace.write(_span_file(span.deployment), span.model_copy(update={"settled": True}))


def forget_evaluation(workspace: Workspace, span: Span) -> None:
    """It has been taken down."""
    end_evaluation(workspace, span, datetime.now(UTC))
    workspace.path(_span_file(span.deployment)).unlink(missing_ok=True)


def asleep_at(since: datetime) -> datetime:
    """When a deployment that is asked nothing any more stops being billed."""
    return since + timedelta(seconds=SCALE_DOWN_S)


def extend_evaluation(workspace: Workspace, ahead_s: float) -> None:
    """Promise what the deployments to evaluate on will have come to so soon. Raises OutOfBudget."""
    plan, until = _plan(workspace), datetime.now(UTC) + timedelta(seconds=ahead_s)
    for span in evaluation_spans(workspace):
        if not span.settled:
            usd = replica_usd(plan, (until - span.begun).total_seconds())
            if usd is not None:
                reserve(workspace, span.resource, span.category, usd)


def settle_left_behind(workspace: Workspace) -> None:
    """What the session's last process left up was billed until it went to sleep, and not until now.

    To be called before this process writes its first event: the last one is the other's last sign of life.
    """
    events = workspace.lines("events.jsonl")
    for span in evaluation_spans(workspace):
        last_sign = datetime.fromisoformat(events[-1]["at"]) if events else span.begun
        end_evaluation(workspace, span, min(asleep_at(max(span.begun, last_sign)), datetime.now(UTC)))


def _span_file(deployment: str) -> str:
    return f"evaluation/{deployment}.json"


def reserve_calls(workspace: Workspace, step: str, line: str, n_calls: int) -> None:
    """Promise a judge's calls: their share of the plan's line."""
    plan = _plan(workspace)
    n_planned = 0
    if plan.judge is not None:
        jobs = priced_jobs(plan.session, plan.trials, plan.rungs)  # as the line counts them
        judging = 2 * sum(judged_prompts(jobs, plan.bases, plan.champion))
        of_pairs = plan.pairs.n_judge_calls if plan.pairs else 0
        n_planned = {JUDGING: judging, PAIR_JUDGING: of_pairs}.get(line, plan.judge.n_qualification_calls)
    high = next(planned.usd_high for planned in plan.lines if planned.what == line)
    reserve(workspace, step, line, None if high is None else high * min(1.0, n_calls / max(n_planned, 1)))


def reserve_first_hour(workspace: Workspace, plan: Plan, deployment: str) -> None:
    reserve(workspace, deployment, FIRST_HOUR, next(line.usd_high for line in plan.lines if line.what == FIRST_HOUR))


def settle_first_hour(workspace: Workspace, plan: Plan, deployment: str, seconds: float) -> None:
    """The winner's deployment so far; it goes on costing by the hour while it is awake."""
    settle(workspace, deployment, FIRST_HOUR, replica_usd(plan, seconds))


def _plan(workspace: Workspace) -> Plan:
    plan = workspace.read("plan.json", Plan)
    if plan is None:
        raise RuntimeError(f"session {workspace.session} has no plan: nothing may be bought")
    return plan


def replica_usd(plan: Plan, seconds: float) -> float | None:
    """What one replica costs for so long."""
    serving = plan.request.serving
    return plan.prices.accelerator_usd(seconds / 3600, serving.accelerator_type, serving.accelerator_count)


def ledger_entries(workspace: Workspace) -> list[Entry]:
    return [Entry.model_validate(line) for line in workspace.lines(LEDGER)]


def _write(workspace: Workspace, entry: Entry) -> None:
    if entry not in ledger_entries(workspace):
        workspace.append(LEDGER, entry.model_dump(mode="json"))
