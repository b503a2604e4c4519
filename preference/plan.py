"""From a request and what was found to the plan that a human approves: trials, sizes, cost, time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from preference.bases import Champion, DataSize, PlannedBase, common_opponent, named_bases
from preference.cost import (
    SCALE_DOWN_S,
    TIME_SPREAD,
    TRAINING_SPREAD,
    CostLine,
    PriceBook,
    duration_text,
    total,
    training_tokens,
    usd_text,
)
from preference.estimates import EstimateError, errors_text
from preference.evaluator_plan import EvaluatorSummary, evaluator_text
from preference.halving import halving_text, priced_jobs, rung_jobs, rungs_for
from preference.judge_plan import JudgePlan, judge_lines, judge_text, judge_warnings, pair_judging_lines
from preference.ledger import Ledger, Spent
from preference.memory import memory_text, memory_warnings
from preference.pair_plan import GUESSED_SPREAD, PairPlan, base_as_made, batch_offer, pair_lines, pair_notes, with_pairs
from preference.search import Search, SearchRefused, search_text, stand_ins
from preference.settings import Method, PreferenceRequest, Strategy
from preference.stats import expected_half_width
from preference.trials import Trial, grid_trials, is_explicit, too_many_examples
from preference.wire import Model, resource_id

# the lines of the bill
TRAINING = "Training"
SAMPLING = "Held-out sampling"
EVALUATOR = "Evaluator"
FIRST_HOUR = "Winner's deployment, first hour"


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


def base_of(bases: Sequence[PlannedBase], trial: Trial) -> PlannedBase:
    """The base that the trial tunes."""
    return next(base for base in bases if base.model.name == trial.base_model)


def cost_lines(
    request: PreferenceRequest,
    trials: Sequence[Trial],
    bases: Sequence[PlannedBase],
    prices: PriceBook,
    champion: Champion | None = None,
    judge: JudgePlan | None = None,
    n_trainings: int = 1,
) -> list[CostLine]:
    """Training, held-out sampling, evaluator or judge, and the winner's first hour, in that order.

    n_trainings: see Plan.
    """
    speed = prices.throughput
    data = bases[0].data
    jobs = [_job_line(base_of(bases, trial), trial, prices) for trial in trials]
    tokens = sum(_job_tokens(base_of(bases, trial), trial) for trial in trials)
    n_models = len(trials) + len(bases) + (champion is not None)  # the bases answer, too
    n_answers = n_models * data.n_held_out
    answer_tokens = n_answers * request.sampling.max_tokens
    n_starts = evaluation_starts(request, len(trials), bases, n_trainings)
    models_of = [trial.base_model for trial in trials] + ([champion.base] if champion else [])
    slow = [  # how many times as long each model that answers takes
        speed.seconds_for_size(base.n_parameters)
        for base in bases
        for _ in range(1 + sum(name in (base.model.name, base.name) for name in models_of))
    ]
    tokens_a_model = data.n_held_out * request.sampling.max_tokens
    sampling_s = n_starts * speed.deployment_start_s + tokens_a_model * sum(slow) / speed.generation_tokens_per_s
    accelerator = (request.serving.accelerator_type, request.serving.accelerator_count)
    if judge is None:
        # it runs here, without network: nothing is bought
        what, seconds = f"{n_answers:,} answers, on this machine", n_answers / speed.evaluator_rows_per_s
        scoring = [CostLine.spread(EVALUATOR, what, 0.0, seconds, TIME_SPREAD)]
    else:
        prompt = max(base.data.held_out_prompt_tokens for base in bases) / max(data.n_held_out, 1)
        scoring = judge_lines(judge, request, prices, judged_prompts(trials, bases, champion), prompt)
    return [
        CostLine.spread(
            TRAINING,
            f"{len(trials)} {'job' if len(trials) == 1 else 'jobs'}, {tokens:,} tokens",
            total(jobs).usd,
            total(jobs).seconds,
            _training_spread(bases[0].data),
        ),
        CostLine.spread(
            SAMPLING,
            f"{n_models} models × {data.n_held_out} prompts, at most {answer_tokens:,} tokens",
            prices.accelerator_usd((sampling_s + n_starts * SCALE_DOWN_S) / 3600, *accelerator),
            sampling_s,
            TIME_SPREAD,
        ),
        *scoring,
        CostLine.spread(
            FIRST_HOUR,
            prices.accelerator_text(*accelerator),
            prices.accelerator_usd(1.0, *accelerator),
            speed.deployment_start_s,
            (1.0, 1.0),
        ),
    ]


def evaluation_starts(
    request: PreferenceRequest, n_trials: int, bases: Sequence[PlannedBase], n_trainings: int = 1
) -> int:
    """How often a deployment to evaluate on is started, at most.

    Each is taken down after its batch, the last one of a single base after the confirmation, too. With several bases
    the winner's and the opponent's come up again to confirm. With a target every model is a batch of its own.
    n_trainings: the rungs of successive halving and the full one, or a search's batches.
    """
    has_target = request.target_win_rate is not None or request.target_score is not None
    n_batches = n_trials if has_target else len(bases) * n_trainings
    if len(bases) == 1:
        return n_batches
    first = has_target or not request.evaluator  # the opponent answers before those that are held against it
    return n_batches + first + (2 if bases[0].data.n_confirmation else 0)


def judged_prompts(trials: Sequence[Trial], bases: Sequence[PlannedBase], champion: Champion | None) -> tuple[int, int]:
    """Answers that a judge compares on the half that chooses and on the one that confirms, each in both orders.

    All but the opponent play it, a champion on both halves; a tuned model whose base is another one plays that, too.
    """
    data, opponent = bases[0].data, common_opponent(bases)
    tuned = [base_of(bases, trial).name for trial in trials]
    served = [champion.base] if champion else []
    n_away, n_served = sum(base != opponent for base in tuned), sum(1 + (base != opponent) for base in served)
    n_plays = len(tuned) + n_away + len(bases) - 1 + n_served
    return n_plays * data.n_selection, ((2 if n_away else 1) + n_served) * data.n_confirmation


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


def budget_warnings(plan: Plan) -> list[str]:
    """Where the wall may be met: steps are started in the plan's order, until the next one might pass it."""
    budget_usd = plan.request.budget_usd
    if budget_usd is None:
        return []
    unknown = [line.what for line in plan.lines if line.usd_high is None]
    spent_usd = max(plan.spent.usd, plan.spent.at_most_usd or 0.0)
    high = spent_usd + sum(line.usd_high or 0.0 for line in plan.lines)
    found = []
    if high > budget_usd:
        found.append(
            f"This may cost up to {usd_text(high)} USD, and budget_usd is {usd_text(budget_usd)}: a step that might "
            "pass it is not started, and the run ends there, perhaps with nothing to deploy."
        )
    if unknown:
        found.append(f"budget_usd cannot hold what has no known price: {', '.join(unknown)}.")
    return found


def plan_markdown(plan: Plan) -> str:
    """The page that is approved: the gate's form shows it, plan.md keeps it."""
    sums = total(plan.lines)
    held_out = f"{plan.data.n_held_out} held-out prompts"
    if plan.data.n_confirmation:
        held_out += f" ({plan.data.n_selection} choose, {plan.data.n_confirmation} confirm)"
    width = "unknown" if plan.half_width is None else f"± {100 * plan.half_width:.0f} points"
    return "\n".join(
        [
            f"# Plan: tune {_title(plan)} by {' and '.join(plan.request.methods)}",
            "",
            f"**{usd_text(sums.usd_low)} – {usd_text(sums.usd)} – {usd_text(sums.usd_high)} USD** "
            f"(low – expected – high), about {duration_text(plan.wall_s)}. {plan.spent.text()}",
            "",
            f"- Session `{plan.session}` on platform `{plan.platform}`",
            *bases_text(plan),
            f"- Data: {'at most ' if plan.pairs else ''}{plan.data.n_train} training pairs, {held_out}",
            *(f"  - {note}" for note in plan.data.notes),
            *(f"- {note}" for note in (pair_notes(plan.pairs) if plan.pairs else [])),
            *_scoring_text(plan),
            *champion_text(plan),
            *_target_text(plan),
            f"- Expected 95 % interval of the headline win rate: {width}",
            f"- {memory_text(plan.prices.memory, plan.bases, plan.request.sweep.batch_size)}",
            "",
            *(["## What was understood", "", *plan.understood, ""] if plan.understood else []),
            *([halving_text(len(plan.trials), plan.rungs), ""] if plan.rungs else []),
            *bases_table(plan),
            *(search_text(plan.search) if plan.search else trials_table(plan)),
            "",
            "| cost | what | low, USD | expected, USD | high, USD | time |",
            "| --- | --- | ---: | ---: | ---: | ---: |",
            *(_cost_row(line) for line in [*plan.lines, sums.model_copy(update={"seconds": plan.wall_s})]),
            "",
            f"At most {plan.request.max_active_jobs} jobs at once. {_budget_text(plan)}"
            f"Prices: {plan.prices.name}, {plan.prices.as_of}.",
            *(f"- {text}" for text in plan.prices.assumptions),
            *(["- Past sessions here, in the median: " + "; ".join(errors_text(plan.past)) + "."] if plan.past else []),
            *(f"- **Unknown price:** {what}" for what in plan.unknown_prices),
            *(f"- **Warning:** {text}" for text in [*budget_warnings(plan), *plan.warnings]),
            "",
        ]
    )


def trials_table(plan: Plan) -> list[str]:
    """One line a trial; the base model has a column where there are several."""
    several = len(plan.bases) > 1
    return [
        f"| trial |{' base model |' * several} method | learning rate | strength | LoRA rank | epochs |",
        f"| --- |{' --- |' * several} --- | ---: | --- | ---: | ---: |",
        *(
            f"| {t.name} |{f' {resource_id(t.base_model)} |' * several} {t.method} | {t.learning_rate:g} "
            f"| {t.strength} | {t.lora_rank} | {t.epochs} |"
            for t in plan.trials
        ),
    ]


def _target_text(plan: Plan) -> list[str]:
    request = plan.request
    parts = [f"win rate {100 * request.target_win_rate:g} %"] if request.target_win_rate is not None else []
    parts += [f"score {request.target_score:g}"] if request.target_score is not None else []
    stop = "; the sweep stops once a candidate is known to reach it" if request.stop_at_target else ""
    return [f"- Target: {' and '.join(parts)}, decided on the confirmation half{stop}"] if parts else []


def _title(plan: Plan) -> str:
    return plan.bases[0].label if len(plan.bases) == 1 else f"{len(plan.bases)} base models"


def _names(bases: Sequence[PlannedBase]) -> str:
    return ", ".join(resource_id(base.model.name) for base in bases)


def bases_text(plan: Plan) -> list[str]:
    """Which base models, and whom their candidates play: lines of a list."""
    if len(plan.bases) == 1:
        return [f"- Base model `{plan.bases[0].model.name}`"]
    opponent = next(base for base in plan.bases if base.name == plan.opponent)
    chosen = "" if plan.request.base_models else ", since the request names none: a sweep over the catalogue's"
    return [
        f"- {len(plan.bases)} base models{chosen}: "
        + ", ".join(f"{base.name} `{base.model.name}`" for base in plan.bases),
        f"- All play one opponent, {opponent.name} ({opponent.label}, the largest), untouched; "
        "the win rate against its own base stands beside.",
    ]


def champion_text(plan: Plan) -> list[str]:
    """Whom a winner must beat: a line of a list, or none."""
    if plan.champion is None:
        nobody = "- Champion: none yet, since no session with this dataset has deployed a model"
        return [nobody] if plan.request.champion else []
    by = f", deployed by session `{plan.champion.promoted_by}`" if plan.champion.promoted_by else ""
    return [f"- Champion `{plan.champion.model}`{by}: nothing is promoted that does not beat it on the same prompts"]


def bases_table(plan: Plan) -> list[str]:
    """Training by base model, where there are several: their tokenizers and prices differ."""
    if len(plan.bases) == 1:
        return []
    rows = [
        "| base | model | jobs | training tokens | low, USD | expected, USD | high, USD |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for base in plan.bases:
        trials = [trial for trial in plan.trials if plan.base_of(trial) == base]
        sums = total([_job_line(base, trial, plan.prices) for trial in trials])
        tokens = sum(_job_tokens(base, trial) for trial in trials)
        amounts = " | ".join(usd_text(x) for x in (sums.usd_low, sums.usd, sums.usd_high))
        about = "" if base.data.exact else "about "
        rows.append(f"| {base.name} | {resource_id(base.model.name)} | {len(trials)} | {about}{tokens:,} | {amounts} |")
    return [*rows, ""]


def _scoring_text(plan: Plan) -> list[str]:
    if plan.judge is not None:
        return judge_text(plan.judge)
    code = plan.evaluator
    if code is None:
        return []
    return evaluator_text(code)


def _budget_text(plan: Plan) -> str:
    budget = plan.request.budget_usd
    return "" if budget is None else f"Budget: {usd_text(budget)} USD. "


def _cost_row(line: CostLine) -> str:
    amounts = " | ".join(usd_text(x) for x in (line.usd_low, line.usd, line.usd_high))
    return f"| {line.what} | {line.quantity} | {amounts} | {duration_text(line.seconds)} |"


def trial_line(plan: Plan, trial: Trial) -> CostLine:
    """One trial's share of the training line."""
    base = plan.base_of(trial)
    return _job_line(base_as_made(base, plan.pairs) if plan.pairs else base, trial, plan.prices)


def cheapest_first(plan: Plan, trials: Sequence[Trial]) -> list[Trial]:
    """In the order of submission: what costs least, or is trained soonest, is known sooner; else the grid's."""
    lines = {trial.name: trial_line(plan, trial) for trial in trials}
    return sorted(trials, key=lambda trial: (lines[trial.name].usd or 0.0, lines[trial.name].seconds))


def _training_spread(data: DataSize) -> tuple[float, float]:
    """Low and high of a training price; wider where the answers are still to be written."""
    (low, high), (shortest, longest) = TRAINING_SPREAD, GUESSED_SPREAD if data.guessed else (1.0, 1.0)
    return low * shortest, high * longest


def _job_tokens(base: PlannedBase, trial: Trial) -> int:
    data = base.data
    sizes = (data.train_prompt_tokens, data.train_chosen_tokens, data.train_rejected_tokens)
    return round(trial.share * training_tokens(*sizes, trial.epochs))


def _job_line(base: PlannedBase, trial: Trial, prices: PriceBook) -> CostLine:
    tokens, speed = _job_tokens(base, trial), prices.throughput
    return CostLine.spread(
        TRAINING,
        f"{trial.job_id}, {tokens:,} tokens",
        prices.training_usd(tokens, base.n_parameters),
        speed.job_overhead_s + tokens * speed.seconds_for_size(base.n_parameters) / speed.training_tokens_per_s,
        _training_spread(base.data),
    )


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
