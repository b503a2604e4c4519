"""One preference-learning run, from a dataset to a deployed, measured model: phase by phase."""

from __future__ import annotations

from functools import partial

from prefect import flow, runtime, unmapped
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.flows import Flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.decisions import approve_new_spending, review
from flows.forms import PlanDecision
from flows.gates import approve
from flows.inputs import Asked, Draft, ask_what_is_missing, change, draft_or_ask
from flows.pairs import pairs_from_prompts
from flows.runs import session_of
from flows.scoring import find_scoring, pair_judging, ready_scorer, scorer_name, scorer_serving
from flows.sessions import Ending, Session, load_platform, run_session, stop_everything, workspace_of
from preference.context import fit_context
from preference.ledger import Spent
from preference.plan import Plan, draft_plan
from preference.plan_lines import FIRST_HOUR, SAMPLING
from preference.session import Outcome
from preference.settings import PreferenceForm
from preference.splits import HeldOutPrompt
from tasks import reporting
from tasks.champion import find_champion
from tasks.comparing import Measure, contestants_of, held_out_halves
from tasks.deployment import deploy_winner
from tasks.halving import Halving
from tasks.inspection import (
    measure_data,
    resolve_base_models,
    split_dataset,
    stage_dataset,
    upload_training_set,
)
from tasks.judged_sweep import JudgedSweep
from tasks.pair_models import choose_pair_models
from tasks.pricing import price_book
from tasks.progress import begin
from tasks.search import batches
from tasks.serving import evaluation_serving
from tasks.spending import nothing_or_spent
from tasks.training import sweep_slots, train_trial

MAX_TRIALS = 256  # a thread each, since a trial's task waits for its slot and for its job


def _run_name() -> str:
    request = runtime.flow_run.parameters.get("request") or {}
    given = request if isinstance(request, dict) else request.model_dump()
    dataset = str(given.get("dataset") or "").rsplit("/", 1)[-1]
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return f"{session_of(run) if run else ''} {dataset or 'by instruction'}".strip()


def stop_what_runs(flow: Flow[..., State], flow_run: FlowRun, state: State) -> None:
    """Prefect's cancellation hook, in a process of its own: nothing of a cancelled run goes on costing."""
    request = PreferenceForm.model_validate(flow_run.parameters["request"])
    workspace = workspace_of(request, flow_run)
    if workspace.folder.exists():
        stop_everything(load_platform(request.platform), workspace)


@flow(
    name="preference-learning",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=MAX_TRIALS),  # type: ignore[arg-type]  # Prefect's own types disagree
    on_cancellation=[stop_what_runs],
    persist_result=False,
)
def preference_learning(request: PreferenceForm) -> State[None]:
    """Tune a base model on preferences, measure it against its base, and deploy it if it is better.

    The run pauses for the plan with its cost, for the comparison, and before a clear winner is deployed. It ends in
    `final_report.md`.
    """
    return run_session(request, phases)


def phases(run: Session) -> Ending:
    """The page. There is no phase 4: the sweep's best model is the one that ships."""
    workspace, platform = run.workspace, run.platform

    # 1. What the text says becomes fields, what is missing is asked; the data is fetched once and split without leaks.
    begin(workspace, "inspect")
    asked = ask_what_is_missing(run)

    # 2. Nothing is trained or bought before its plan is approved. A change plans, prices and asks again.
    while True:
        draft = draft_or_ask(run, asked, inspect_and_plan)
        answer = approve(workspace, draft.plan, timeout_days=asked.request.gate_timeout_days)
        if answer.decision is not PlanDecision.CHANGE:
            break
        change(run, asked, answer)
    if answer.decision is PlanDecision.REJECT:
        return Ending(Outcome.REJECTED, f"The plan was rejected: {nothing_or_spent(workspace)}.")
    request, plan, split, scoring = asked.request, draft.plan, draft.split, draft.scoring

    # 3. A judge is tried before the bulk of the money: below the line it decides nothing unasked.
    scorer = ready_scorer(run, plan, scoring, before_pairs=True)

    # Prompts become pairs, where there are no pairs: a strong model's answer over a weak one's.
    if plan.pairs:
        begin(workspace, "pairs")
        made = pairs_from_prompts(run, plan, split, scoring, scorer)
        if made is None:
            return Ending(Outcome.REJECTED, f"Stopped at the pairs: {nothing_or_spent(workspace)}.")
        dataset, scorer = made.dataset, made.scorer
    else:
        dataset = upload_training_set(platform, workspace, split)
    scorer = scorer or ready_scorer(run, plan, scoring)  # by the labels of the pairs that were made

    # Then one job a trial, at most six on the platform at once; with halving, first on a part of the pairs.
    # 5. Base and candidates answer the same held-out prompts; the proposed winner is measured once more.
    selection, confirmation = held_out_halves(split)
    comparison = reporting.published_comparison(workspace)
    begin(workspace, "sweep")
    if comparison is None:  # a run that goes on after its comparison trains and measures nothing again
        ask_first = partial(approve_new_spending, workspace, plan, SAMPLING)
        with (
            scorer_serving(run, plan, scorer) as served,
            evaluation_serving(platform, workspace, plan, before_first=ask_first) as serving,
        ):
            measure = Measure(platform, workspace, serving, plan, served)
            alive, halving = plan.trials, Halving(platform, workspace, plan, measure, selection)
            for rung, _ in enumerate(plan.rungs, 1):
                run.slots = halving.slots(rung, alive)
                alive = halving.climb(rung, alive, split, run.slots)
            sweep = JudgedSweep(workspace, plan, measure, selection)
            for batch in batches(workspace, plan, sweep):  # a grid is one batch
                run.slots = sweep_slots(workspace, batch, request.max_active_jobs)
                training = train_trial.map(
                    unmapped(platform), unmapped(workspace), batch, unmapped(dataset), unmapped(run.slots)
                )
                sweep.follow(batch, training, run.slots)
            contestants = contestants_of(plan, [sweep.ended[trial.name] for trial in plan.trials])
            comparison = measure.compare(contestants, selection, confirmation, sweep.measured)
    reporting.publish_comparison(workspace, comparison)
    decided = review(workspace, comparison, plan)
    if decided.winner is None:
        return Ending(Outcome.NOT_PROMOTED, decided.why_not)

    # 6. The winner is deployed, and has answered.
    begin(workspace, "deploy")
    approve_new_spending(workspace, plan, FIRST_HOUR)
    endpoint = deploy_winner(platform, workspace, decided.winner, plan, last_message(selection[0]))
    reporting.publish_endpoint(workspace, endpoint)

    # 7. The report is written by run_session, as on every other way out.
    return Ending(Outcome.PROMOTED, f"{decided.winner.model} is deployed and answers as {endpoint.address}")


def inspect_and_plan(run: Session, asked: Asked) -> Draft:
    """Phases 1 and 2 up to the gate: the data checked, split and measured, and the plan with its price."""
    workspace, platform = run.workspace, run.platform
    run.request = asked.request
    prices = price_book(platform, workspace)
    base_models = resolve_base_models(platform, workspace, run.request.base_models, prices.model_sweep.models)
    run.request, fitted = fit_context(asked.request, base_models)
    request = run.request
    data = stage_dataset(platform, workspace, request.dataset, "data")
    held_out = stage_dataset(platform, workspace, request.held_out, "held-out") if request.held_out else None
    split = split_dataset(workspace, request, data, held_out)
    bases = measure_data(platform, workspace, request, base_models, split)
    scoring = find_scoring(run, split.train)
    reporting.publish_profile(workspace, bases)

    champion = find_champion(platform, workspace, request, bases)
    by = scorer_name(scoring), pair_judging(scoring)
    pairs = choose_pair_models(platform, workspace, request, bases, prices, *by)
    begin(workspace, "plan")

    def draft(spent: Spent) -> Plan:
        plan = draft_plan(workspace.session, request, bases, scoring.summary, prices, spent, champion, pairs)
        return plan.model_copy(update={"understood": asked.lines(), "warnings": [*fitted, *plan.warnings]})

    return Draft(reporting.publish_plan(workspace, draft), split, scoring)


def last_message(prompt: HeldOutPrompt) -> str:
    """What a held-out prompt asks."""
    return str(prompt.messages[-1]["content"])
