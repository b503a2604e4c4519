"""Phase 7, and what people look at before it: the Prefect artifacts and final_report.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from prefect.context import FlowRunContext

from blocks.journal import Journal
from blocks.workspace import Workspace
from preference.approval import Beside, page_sha256
from preference.bases import PlannedBase
from preference.cost import CostLine
from preference.estimates import EstimateError, estimate_errors
from preference.health import training_health
from preference.ledger import Spent
from preference.pairs import PairsMade
from preference.plan import Plan, actual_lines
from preference.plan_lines import TRAINING
from preference.plan_page import plan_markdown
from preference.report import final_report
from preference.report_facts import EndpointFacts, EvaluatorFacts, ReportFacts, TrialFacts, Usage
from preference.search import Draws
from preference.session import SessionRecord, SessionState, is_session_id
from preference.standings import Comparison, Estimate, ScoredAnswer
from preference.targets import Stopped
from tasks.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from tasks.deployment import Endpoint
from tasks.drawing import draw, drawings, headline_answers, trained_trials, with_pictures_inside
from tasks.evaluation import JOURNAL, TRIAL, EvaluatorTrial
from tasks.inspection import Staged
from tasks.judging import QUALIFIED, Tries
from tasks.pairs import MADE
from tasks.progress import TIMINGS, begin, say
from tasks.search import DRAWS
from tasks.spending import ledger
from tasks.training import STOPPED, TrainedTrial

EXAMPLES = 2  # of each kind
SESSIONS_REMEMBERED = 20  # whose estimates the next plan is told beside
PACKAGES = ("prefworks", "prefect", "httpx", "pydantic", "pandas")


def publish_profile(workspace: Workspace, bases: Sequence[PlannedBase]) -> None:
    """The training rows' statistics, in the tokens of each base."""
    size, several = bases[0].data, len(bases) > 1
    create_table_artifact(
        table=[
            {**({"base model": base.model.name} if several else {}), **row}
            for base in bases
            for row in base.data.train_profile
        ],
        key="dataset-profile",
        description=f"Session {workspace.session}: {size.n_train} training rows, {size.n_held_out} held-out prompts",
    )


def publish_plan(workspace: Workspace, draft: Callable[[Spent], Plan]) -> Plan:
    """plan.json and plan.md in the folder, and the same as an artifact: what the gate shows stays readable.

    draft: the plan, after so much was spent. Gives the plan to go by: where the page would differ from one that was
    answered, or from the one that is there, only by what was spent since or what other sessions came to meanwhile, that
    one stands, and its answer with it.
    """
    plan = _as_answered(workspace, draft)
    if plan is None:
        plan = draft(ledger(workspace).spent())
        plan = plan.model_copy(update={"past": past_errors(workspace, plan)})
        before = workspace.read("plan.json", Plan)
        if before is not None:
            as_before = plan.model_copy(update={"spent": before.spent, "past": before.past})
            plan = as_before if plan_markdown(as_before) == plan_markdown(before) else plan
    workspace.write("plan.json", plan)
    workspace.write_text("plan.md", plan_markdown(plan))
    create_markdown_artifact(plan_markdown(plan), key="plan", description=f"Session {workspace.session}")
    return plan


def _as_answered(workspace: Workspace, draft: Callable[[Spent], Plan]) -> Plan | None:
    """The plan whose page has an answer at the gate, a change or an approval; None where this plan has none."""
    for record in reversed(workspace.lines("approvals.jsonl")):
        if record["gate"] == "plan" and "beside" in record:
            then = Beside.model_validate(record["beside"])
            plan = draft(then.spent).model_copy(update={"past": then.past})
            if page_sha256(plan_markdown(plan)) == record["shown_sha256"]:
                return plan
    return None


def published_comparison(workspace: Workspace) -> Comparison | None:
    """What an earlier process of the session measured; None where there is none yet."""
    return workspace.read("comparison.json", Comparison)


def publish_comparison(workspace: Workspace, comparison: Comparison) -> None:
    workspace.write("comparison.json", comparison)
    create_table_artifact(
        table=[
            {
                "candidate": s.contestant.name,
                "settings": s.contestant.label,
                **({} if comparison.judge else {"score": s.score.text()}),
                "against opponent": s.difference.text(signed=True) if s.difference else "",
                "win rate, %": _percent(s.win_rate),
                **({"win rate against its own base, %": _percent(s.own_base)} if comparison.bases else {}),
                **({"at equal length, %": _percent(s.length_controlled)} if comparison.judge else {}),
                "words": None if s.mean_words is None else round(s.mean_words, 1),
                "not scored": s.n_failed,
                "flags": "; ".join(s.flags),
            }
            for s in [
                *comparison.candidates,
                *([comparison.champion] if comparison.champion else []),
                *comparison.bases,
                comparison.base,
            ]
        ],
        key="comparison",
        description=f"Session {workspace.session}: {comparison.n_selection} held-out prompts, 95 % intervals",
    )


def _percent(rate: Estimate | None) -> str:
    return rate.text(scale=100, digits=0) if rate else ""


def publish_endpoint(workspace: Workspace, endpoint: Endpoint) -> None:
    create_link_artifact(
        f"{endpoint.base_url}/models",
        key="endpoint",
        link_text=endpoint.address,
        description=f"Session {workspace.session}: `model` is `{endpoint.address}` at {endpoint.base_url}",
    )


def publish_report(workspace: Workspace) -> None:
    """final_report.md and its pictures in the folder, and as an artifact where a flow run is there to hold it."""
    begin(workspace, "report")
    draw(workspace)
    text = final_report(gather(workspace))
    path = workspace.write_text("final_report.md", text)
    if FlowRunContext.get() is not None:
        shown = with_pictures_inside(workspace, text)
        create_markdown_artifact(shown, key="final-report", description=f"Session {workspace.session}")
    say(workspace, "report", f"the report is in {path}")


def gather(workspace: Workspace) -> ReportFacts:
    """Everything for the report, read back from the folder: what is not there did not come to pass."""
    record = workspace.read("session.json", SessionRecord)
    if record is None:
        raise RuntimeError(f"session {workspace.session} was never opened")
    plan = workspace.read("plan.json", Plan)
    trained = trained_trials(workspace)
    comparison = workspace.read("comparison.json", Comparison)
    usage, doubtful = _usage(workspace)
    return ReportFacts(
        record=record,
        plan=plan,
        approvals=workspace.lines("approvals.jsonl"),
        trials=[_trial_facts(result) for result in trained],
        comparison=comparison,
        endpoint=workspace.read("deployment.json", EndpointFacts),
        usage=usage,
        n_possibly_billed_twice=doubtful,
        actual=_actual(workspace, plan, trained) if plan else [],
        versions=_versions(),
        draws=workspace.read(DRAWS, Draws),
        stopped=workspace.read(STOPPED, Stopped),
        examples=_examples(workspace, comparison) if comparison else [],
        evaluator=_evaluator(workspace, plan),
        datasets=_datasets(workspace),
        judge=tries.best if (tries := workspace.read(QUALIFIED, Tries)) else None,
        pictures=list(drawings(workspace)),
        pairs=workspace.read(MADE, PairsMade),
    )


def _trial_facts(result: TrainedTrial) -> TrialFacts:
    losses = [m for m in (_loss(line) for line in result.metrics) if m is not None]
    last = result.metrics[-1] if result.metrics else {}
    accuracy = last.get("accuracy")
    return TrialFacts(
        trial=result.trial,
        job_state=result.job_state,
        message=result.message,
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
        last_accuracy=accuracy if isinstance(accuracy, int | float) else None,
        n_steps=int(last.get("step") or 0),
        seconds=(result.completed - result.created).total_seconds() if result.completed and result.created else None,
        seed=result.seed,
        health=training_health(result.trial.method, result.metrics),
    )


def _actual(workspace: Workspace, plan: Plan, trained: Sequence[TrainedTrial]) -> list[CostLine]:
    """Seconds by the platform's clock for training, by ours for the rest; a session that went on adds them up."""
    seconds: dict[str, float] = {}
    for line in workspace.lines(TIMINGS):
        seconds[line["what"]] = seconds.get(line["what"], 0.0) + line["seconds"]
    begun = [result.created for result in trained if result.created]
    ended = [result.completed for result in trained if result.completed]
    if begun and ended:
        seconds[TRAINING] = (max(ended) - min(begun)).total_seconds()
    return actual_lines(plan, ledger(workspace), seconds)


def past_errors(workspace: Workspace, plan: Plan) -> list[EstimateError]:
    """How far off the last plans were that other sessions on the same platform and prices carried out."""
    here = workspace.folder.parent
    names = sorted((f.name for f in here.iterdir() if is_session_id(f.name) and f.name != workspace.session), key=_age)
    past = []
    for name in names:
        other = Workspace(name, here.parent)
        try:
            record, planned = other.read("session.json", SessionRecord), other.read("plan.json", Plan)
            if record is None or planned is None or record.state is not SessionState.SUCCEEDED:
                continue
            if (planned.platform, planned.prices.name) == (plan.platform, plan.prices.name):
                trained = [other.read(f"trials/{t.name}/result.json", TrainedTrial) for t in planned.trials]
                past.append((_as_wall_time(planned), _actual(other, planned, [t for t in trained if t is not None])))
        except ValueError:  # written by another version, or broken: it says nothing
            continue
        if len(past) == SESSIONS_REMEMBERED:
            break
    return estimate_errors(past)


def _as_wall_time(plan: Plan) -> list[CostLine]:
    """The plan's lines with training as it was expected to pass, jobs side by side, and not their sum."""
    others_s = sum(line.seconds for line in plan.lines if line.what != TRAINING)
    return [
        line.model_copy(update={"seconds": plan.wall_s - others_s}) if line.what == TRAINING else line
        for line in plan.lines
    ]


def _age(session: str) -> int:
    """The newest first."""
    return -int(session.split("-")[0])


def _loss(line: dict[str, Any]) -> float | None:
    """Metrics keys are the platform's own and optional."""
    for key in ("dpo_loss", "orpo_loss", "loss", "train/loss"):
        if isinstance(line.get(key), int | float):
            return float(line[key])
    return None


def _usage(workspace: Workspace) -> tuple[list[Usage], int]:
    if not (workspace.folder / JOURNAL).exists():
        return [], 0
    with closing(Journal(workspace.path(JOURNAL))) as journal:
        rows = [
            Usage(model=model, n_answers=n, prompt_tokens=prompt, completion_tokens=completion)
            for model, (n, prompt, completion) in journal.usage().items()
        ]
        return rows, journal.n_possibly_billed_twice()


def _examples(workspace: Workspace, comparison: Comparison) -> list[dict[str, str]]:
    """The clearest wins and losses of the headline's prompts, and ties; EXAMPLES of each at most."""
    sides = headline_answers(workspace, comparison)
    if sides is None:
        return []
    pairs = [
        (t.score - b.score, b, t) for b, t in zip(*sides, strict=True) if t.score is not None and b.score is not None
    ]
    ranked = sorted(pairs, key=lambda pair: -pair[0])
    wins = [("Win", b, t) for margin, b, t in ranked if margin > 0][:EXAMPLES]
    losses = [("Loss", b, t) for margin, b, t in reversed(ranked) if margin < 0][:EXAMPLES]
    ties = [("Tie", b, t) for margin, b, t in pairs if margin == 0][:EXAMPLES]
    return [_example(kind, b, t, judged=bool(comparison.judge)) for kind, b, t in [*wins, *losses, *ties]]


def _example(kind: str, base: ScoredAnswer, tuned: ScoredAnswer, *, judged: bool) -> dict[str, str]:
    return {
        "kind": kind,
        "prompt": base.prompt,
        "base": base.text,
        "base_score": "" if judged else f"{base.score:.2f}",
        "base_reason": "" if judged else base.reason,
        "tuned": tuned.text,
        "tuned_score": "" if judged else f"{tuned.score:.2f}",
        "tuned_reason": "" if judged else tuned.reason,
        "judge": tuned.reason if judged else "",
    }


def _evaluator(workspace: Workspace, plan: Plan | None) -> EvaluatorFacts | None:
    """The code that the plan named, from the folder."""
    if plan is None or plan.evaluator is None:
        return None
    file = plan.evaluator.entry_point.split("::")[0]
    found = next((workspace.folder / "evaluator").rglob(file), None)  # also in a folder that was copied elsewhere
    if found is None:
        return None
    code = found.read_text("utf-8", errors="replace")
    tried = workspace.read(TRIAL, EvaluatorTrial) or EvaluatorTrial(n_answers=0, faults=[])
    return EvaluatorFacts(file=file, code=code, n_tried=tried.n_answers, faults=tried.faults)


def _datasets(workspace: Workspace) -> dict[str, str]:
    """Where the rows came from; the hash is of their content, whatever their format."""
    found = {}
    for role, what in (("data", "Dataset"), ("held-out", "Held-out dataset")):
        if staged := workspace.read(f"dataset/{role}.staged.json", Staged):
            intake = staged.intake
            found[what] = f"`{staged.dataset}`, {intake.n_rows} rows, content hash `{intake.content_hash}`"
    return found


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
