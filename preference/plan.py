"""From a request and what was found to the plan that a human approves: trials, sizes, cost, time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from preference.bases import Champion, DataSize, PlannedBase, common_opponent, named_bases
from preference.cost import (
    CostLine,
    PriceBook,
)
from preference.estimates import EstimateError
from preference.evaluator_plan import EvaluatorSummary
from preference.halving import priced_jobs, rung_jobs, rungs_for
from preference.judge_plan import JudgePlan, judge_warnings, pair_judging_lines
from preference.ledger import Ledger, Spent
from preference.memory import memory_warnings
from preference.pair_plan import PairPlan, base_as_made, batch_offer, pair_lines, with_pairs
from preference.plan_lines import base_of, cost_lines, job_line
from preference.search import Search, SearchRefused, stand_ins
from preference.settings import PreferenceRequest
from preference.settings_sweep import Method, Strategy
from preference.stats import expected_half_width
from preference.trials import Trial, grid_trials, is_explicit, too_many_examples
from preference.wire import Model, resource_id


def is_unsandboxed(plan: Plan) -> bool:
    """Whether a person accepted that the plan's evaluator runs without a sandbox."""
    return plan.evaluator is not None and plan.evaluator.unsandboxed


class PlanRefused(ValueError):
    """The request cannot be planned as it stands; the message says what to change."""


class Plan(BaseModel):
    """Everything that one approval covers."""

    session: str
    platform: str
    request: PreferenceRequest
    bases: list[PlannedBase]  # in the order of the trials
    opponent: str  # whom every candidate and every other base plays: the name of one of the bases
    evaluator: EvaluatorSummary | None  # None: a judge compares
    judge: JudgePlan | None = None
    trials: list[Trial]  # with a search, stand-ins that are as dear as any that it may draw
    lines: list[CostLine]
    wall_s: float
    half_width: float | None  # of the headline's 95 % interval, win rate, 0 to 1
    prices: PriceBook  # as they were when the plan was made
    warnings: list[str]
    spent: Spent = Spent()  # when the plan was made
    champion: Champion | None = None
    pairs: PairPlan | None = None  # None: the dataset has them
    understood: list[str] = []  # lines of the page: what the text was understood to ask for
    rungs: list[float] = []  # shares of the pairs that all, then the better half, ... are trained on before all pairs
    search: Search | None = None  # the trials are drawn while the run goes on
    past: list[EstimateError] = []  # of sessions on the same platform before it

    @property
    def data(self) -> DataSize:
        """The first base's; the rows and prompts are the same for all, the tokens are not."""
        return self.bases[0].data

    def base_of(self, trial: Trial) -> PlannedBase:
        return base_of(self.bases, trial)

    @property
    def jobs(self) -> list[Trial]:
        """Every job that the plan may start."""
        return [*rung_jobs(self.session, self.trials, self.rungs), *self.trials]

    @property
    def n_trainings(self) -> int:
        """How often trials are trained side by side and then measured."""
        return self.search.n_batches if self.search else 1 + len(self.rungs)

    @property
    def sha256(self) -> str:
        """What an approval is for: another plan is another hash."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def unknown_prices(self) -> list[str]:
        return [line.what for line in self.lines if line.usd is None]


def draft_plan(
    session: str,
    request: PreferenceRequest,
    bases: Sequence[PlannedBase],
    scoring: EvaluatorSummary | JudgePlan,
    prices: PriceBook,
    spent: Spent | None = None,
    champion: Champion | None = None,
    pairs: PairPlan | None = None,
) -> Plan:
    """Trials and their price; nothing is created, nothing is spent. Raises PlanRefused."""
    judge = scoring if isinstance(scoring, JudgePlan) else None
    bases = with_pairs(bases, pairs) if pairs else bases
    bases, left_out = _within_budget(session, request, bases, prices, spent or Spent(), judge)
    if champion and champion.base not in {base.name for base in bases}:
        raise PlanRefused(f"the champion {champion.model} needs a base model that the budget has no room for")
    data = bases[0].data
    search, trials = _search_or_grid(session, request, [base.model for base in bases])
    if refusal := too_many_examples(trials, data.n_train):
        raise PlanRefused(refusal)
    try:
        explicit = is_explicit(request)
        rungs = rungs_for(request.strategy, len(trials), data.n_train, explicit=explicit, makes_pairs=pairs is not None)
    except ValueError as error:
        raise PlanRefused(str(error)) from None
    jobs = priced_jobs(session, trials, rungs)
    n_trainings = search.n_batches if search else 1 + len(rungs)
    lines = cost_lines(request, jobs, bases, prices, champion, judge, n_trainings)
    if pairs:
        lines += pair_lines(pairs, request.serving, prices, data.train_prompt_tokens)
        offer = batch_offer(pairs, request.serving, prices, data.train_prompt_tokens)
        pairs = pairs.model_copy(update={"batch_offer": offer})
    if pairs and judge:
        mean_prompt_tokens = data.train_prompt_tokens / max(data.n_train, 1)
        lines += pair_judging_lines(judge, pairs, request, prices, mean_prompt_tokens)
    waves = -(-len(jobs) // min(request.max_active_jobs, prices.throughput.jobs_at_once))
    one_by_one = lines[0].seconds / len(jobs)
    wall = waves * one_by_one + sum(line.seconds for line in lines[1:])
    n_headline = data.n_confirmation or data.n_held_out
    return Plan(
        session=session,
        platform=request.platform,
        request=request,
        bases=list(bases),
        opponent=common_opponent(bases),
        evaluator=scoring if isinstance(scoring, EvaluatorSummary) else None,
        judge=judge,
        trials=trials,
        lines=lines,
        wall_s=wall,
        half_width=expected_half_width(n_headline),
        prices=prices,
        warnings=[
            *left_out,
            *plan_warnings(request, bases, prices),
            *(judge_warnings(judge, [base.model.name for base in bases]) if judge else []),
        ],
        spent=spent or Spent(),
        champion=champion,
        rungs=list(rungs),
        pairs=pairs,
        search=search,
    )


def _search_or_grid(
    session: str, request: PreferenceRequest, bases: Sequence[Model]
) -> tuple[Search | None, list[Trial]]:
    """The trials, and the search that draws them where there is one. Raises PlanRefused."""
    if request.strategy is not Strategy.TPE:
        return None, grid_trials(session, request, bases)
    try:
        search = Search.of(request, bases)
    except SearchRefused as error:
        raise PlanRefused(str(error)) from None
    return search, stand_ins(search, session, request)


def _within_budget(
    session: str,
    request: PreferenceRequest,
    bases: Sequence[PlannedBase],
    prices: PriceBook,
    spent: Spent,
    judge: JudgePlan | None,
) -> tuple[Sequence[PlannedBase], list[str]]:
    """A model sweep's bases, in the catalogue's order, as far as the budget may pay for; and a word on the others.

    What the request names itself is never left out. At least one base is kept.
    """
    if request.base_models or request.budget_usd is None:
        return bases, []
    kept = list(bases[:1])
    before = max(spent.usd, spent.at_most_usd or 0.0)
    for base in bases[1:]:
        search, trials = _search_or_grid(session, request, [b.model for b in [*kept, base]])
        n_trainings = search.n_batches if search else 1
        lines = cost_lines(request, trials, [*kept, base], prices, judge=judge, n_trainings=n_trainings)
        if before + sum(line.usd_high or 0.0 for line in lines) <= request.budget_usd:
            kept.append(base)
    names = {base.name for base in kept}
    left_out = [base.model.name for base in bases if base.name not in names]
    told = f"The budget has no room for these base models of the catalogue: {', '.join(left_out)}."
    sizes = [base.data for base in kept]
    return named_bases([base.model for base in kept], sizes), [told] if left_out else []


def _names(bases: Sequence[PlannedBase]) -> str:
    return ", ".join(resource_id(base.model.name) for base in bases)


def plan_warnings(request: PreferenceRequest, bases: Sequence[PlannedBase], prices: PriceBook) -> list[str]:
    """What a careful reader would want to be told before saying yes."""
    warnings = []
    data = bases[0].data
    if estimated := [base for base in bases if not base.data.exact]:
        whose = "the base model's tokenizer is" if len(bases) == 1 else f"the tokenizers of {_names(estimated)} are"
        warnings.append(f"Token counts are estimates: {whose} not at hand.")
    if over := [base for base in bases if base.data.n_over_context]:
        where = "" if len(bases) == 1 else f" for {_names(over)}"
        most = max(base.data.n_over_context for base in over)
        warnings.append(
            f"{most} training rows are longer than {request.sweep.max_context_length} tokens{where}: "
            "the platform may cut them or refuse the jobs. Raise the context length, or leave them out."
        )
    if not data.n_confirmation:
        warnings.append(
            f"{data.n_held_out} held-out prompts are too few for a confirmation half (12 are needed): the "
            "headline will be measured on the prompts that chose the winner, and will flatter it."
        )
    warnings += memory_warnings(prices.memory, bases, request.sweep.batch_size)
    if Method.ORPO in request.methods and prices.training_usd(1e6, 1) not in (0.0, None):
        warnings.append("ORPO's billing is undocumented; it is priced at the DPO rate.")
    return warnings


def trial_line(plan: Plan, trial: Trial) -> CostLine:
    """One trial's share of the training line."""
    base = plan.base_of(trial)
    return job_line(base_as_made(base, plan.pairs) if plan.pairs else base, trial, plan.prices)


def cheapest_first(plan: Plan, trials: Sequence[Trial]) -> list[Trial]:
    """In the order of submission: what costs least, or is trained soonest, is known sooner; else the grid's."""
    lines = {trial.name: trial_line(plan, trial) for trial in trials}
    return sorted(trials, key=lambda trial: (lines[trial.name].usd or 0.0, lines[trial.name].seconds))


def actual_lines(plan: Plan, ledger: Ledger, seconds: Mapping[str, float]) -> list[CostLine]:
    """What it came to, line by line of the plan, and what was bought beside it; only for what took place.

    seconds: wall time by line. low is what is known; high adds what was reserved for what is not; a line with
    something unknown in it has no single amount. Where nothing was bought, the step itself cost nothing.
    """
    lines = []
    names = [line.what for line in plan.lines]
    for what in [*names, *(c for c in ledger.categories if c not in names)]:
        spent = ledger.spent(what)
        if what not in seconds and not spent.n_bought:
            continue
        lines.append(
            CostLine(
                what=what,
                quantity=f"not known: {', '.join(spent.open)}" if spent.open else "",
                usd_low=spent.usd,
                usd=spent.usd if spent.known else None,
                usd_high=spent.at_most_usd,
                seconds=seconds.get(what, 0.0),
            )
        )
    return lines
