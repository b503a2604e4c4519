"""From a request and what was found to the plan that a human approves: trials, sizes, cost, time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pydantic import BaseModel

from preference import wire
from preference.cost import (
    TIME_SPREAD,
    TRAINING_SPREAD,
    CostLine,
    PriceBook,
    duration_text,
    total,
    training_tokens,
    usd_text,
)
from preference.ledger import Ledger, Spent
from preference.settings import Method, PreferenceRequest
from preference.stats import expected_half_width
from preference.trials import Trial, grid_trials

# the lines of the bill
TRAINING = "Training"
SAMPLING = "Held-out sampling"
EVALUATOR = "Evaluator"
FIRST_HOUR = "Winner's deployment, first hour"

SCALE_DOWN_S = 300.0  # the shortest scaleToZeroWindow: so long is an idle replica billed


class DataSize(BaseModel):
    """What the plan must know of the data, in rows and in the base model's tokens."""

    n_train: int
    n_held_out: int
    n_selection: int
    n_confirmation: int  # 0 where there are too few prompts for a confirmation half
    train_prompt_tokens: int
    train_chosen_tokens: int
    train_rejected_tokens: int
    held_out_prompt_tokens: int
    exact: bool  # counted with the base model's own tokenizer, not estimated
    n_over_context: int  # train rows longer than the context length
    notes: list[str] = []  # rows converted, dropped or left out, each rule with its count
    train_profile: list[dict[str, str]] = []  # the profile's table, for people


class EvaluatorSummary(BaseModel):
    name: str
    entry_point: str
    sha256: str
    n_bytes: int
    requirements: list[str]
    sandbox: str  # how it will be confined, in a few words


class PlanRefused(ValueError):
    """The request cannot be planned as it stands; the message says what to change."""


class Plan(BaseModel):
    """Everything that one approval covers."""

    session: str
    platform: str
    request: PreferenceRequest
    base_model: wire.Model
    data: DataSize
    evaluator: EvaluatorSummary
    trials: list[Trial]
    lines: list[CostLine]
    wall_s: float
    half_width: float | None  # of the headline's 95 % interval, win rate, 0 to 1
    prices: PriceBook  # as they were when the plan was made
    warnings: list[str]
    spent: Spent = Spent()  # when the plan was made

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
    base_model: wire.Model,
    data: DataSize,
    evaluator: EvaluatorSummary,
    prices: PriceBook,
    spent: Spent | None = None,
) -> Plan:
    """Trials and their price; nothing is created, nothing is spent. Raises PlanRefused."""
    longest = base_model.training_context_length or base_model.context_length
    if longest and request.sweep.max_context_length > longest:
        raise PlanRefused(
            f"max_context_length is {request.sweep.max_context_length} tokens, and {base_model.name} takes at most "
            f"{longest}. Set it to {longest - longest % 16} or less."
        )
    trials = grid_trials(session, request, base_model)
    lines = cost_lines(request, trials, base_model, data, prices)
    waves = -(-len(trials) // min(request.max_active_jobs, prices.throughput.jobs_at_once))
    one_by_one = lines[0].seconds / len(trials)
    wall = waves * one_by_one + sum(line.seconds for line in lines[1:])
    n_headline = data.n_confirmation or data.n_held_out
    return Plan(
        session=session,
        platform=request.platform,
        request=request,
        base_model=base_model,
        data=data,
        evaluator=evaluator,
        trials=trials,
        lines=lines,
        wall_s=wall,
        half_width=expected_half_width(n_headline),
        prices=prices,
        warnings=plan_warnings(request, data, prices),
        spent=spent or Spent(),
    )


def cost_lines(
    request: PreferenceRequest,
    trials: list[Trial],
    base_model: wire.Model,
    data: DataSize,
    prices: PriceBook,
) -> list[CostLine]:
    """Training, held-out sampling, evaluator and the winner's first hour, in that order."""
    speed = prices.throughput
    details = base_model.base_model_details
    tokens = sum(
        training_tokens(data.train_prompt_tokens, data.train_chosen_tokens, data.train_rejected_tokens, trial.epochs)
        for trial in trials
    )
    n_models = len(trials) + 1  # the base answers, too
    n_answers = n_models * data.n_held_out
    answer_tokens = n_answers * request.sampling.max_tokens
    sampling_s = speed.deployment_start_s + answer_tokens / speed.generation_tokens_per_s
    accelerator = (request.serving.accelerator_type, request.serving.accelerator_count)
    return [
        CostLine.spread(
            TRAINING,
            f"{len(trials)} {'job' if len(trials) == 1 else 'jobs'}, {tokens:,} tokens",
            prices.training_usd(tokens, details.parameter_count if details else None),
            len(trials) * speed.job_overhead_s + tokens / speed.training_tokens_per_s,
            TRAINING_SPREAD,
        ),
        CostLine.spread(
            SAMPLING,
            f"{n_models} models × {data.n_held_out} prompts, at most {answer_tokens:,} tokens",
            prices.accelerator_usd((sampling_s + SCALE_DOWN_S) / 3600, *accelerator),
            sampling_s,
            TIME_SPREAD,
        ),
        CostLine.spread(
            EVALUATOR,
            f"{n_answers:,} answers, on this machine",
            0.0,  # it runs here, without network: nothing is bought
            n_answers / speed.evaluator_rows_per_s,
            TIME_SPREAD,
        ),
        CostLine.spread(
            FIRST_HOUR,
            prices.accelerator_text(*accelerator),
            prices.accelerator_usd(1.0, *accelerator),
            speed.deployment_start_s,
            (1.0, 1.0),
        ),
    ]


def plan_warnings(request: PreferenceRequest, data: DataSize, prices: PriceBook) -> list[str]:
    """What a careful reader would want to be told before saying yes."""
    warnings = []
    if not data.exact:
        warnings.append("Token counts are estimates: the base model's tokenizer is not at hand.")
    if data.n_over_context:
        warnings.append(
            f"{data.n_over_context} training rows are longer than {request.sweep.max_context_length} tokens: "
            "the platform may cut them or refuse the jobs. Raise the context length, or leave them out."
        )
    if not data.n_confirmation:
        warnings.append(
            f"{data.n_held_out} held-out prompts are too few for a confirmation half (12 are needed): the "
            "headline will be measured on the prompts that chose the winner, and will flatter it."
        )
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
    model = plan.base_model
    held_out = f"{plan.data.n_held_out} held-out prompts"
    if plan.data.n_confirmation:
        held_out += f" ({plan.data.n_selection} choose, {plan.data.n_confirmation} confirm)"
    width = "unknown" if plan.half_width is None else f"± {100 * plan.half_width:.0f} points"
    return "\n".join(
        [
            f"# Plan: tune {model.display_name or model.name} by {' and '.join(plan.request.methods)}",
            "",
            f"**{usd_text(sums.usd_low)} – {usd_text(sums.usd)} – {usd_text(sums.usd_high)} USD** "
            f"(low – expected – high), about {duration_text(plan.wall_s)}. {plan.spent.text()}",
            "",
            f"- Session `{plan.session}` on platform `{plan.platform}`",
            f"- Base model `{model.name}`",
            f"- Data: {plan.data.n_train} training pairs, {held_out}",
            *(f"  - {note}" for note in plan.data.notes),
            f"- Evaluator `{plan.evaluator.name}`, {plan.evaluator.entry_point}, "
            f"sha256 `{plan.evaluator.sha256[:12]}`, {plan.evaluator.sandbox}",
            f"- Expected 95 % interval of the headline win rate: {width}",
            "",
            "| trial | method | learning rate | strength | LoRA rank | epochs |",
            "| --- | --- | ---: | --- | ---: | ---: |",
            *(
                f"| {t.name} | {t.method} | {t.learning_rate:g} | {t.strength} | {t.lora_rank} | {t.epochs} |"
                for t in plan.trials
            ),
            "",
            "| cost | what | low, USD | expected, USD | high, USD | time |",
            "| --- | --- | ---: | ---: | ---: | ---: |",
            *(_cost_row(line) for line in [*plan.lines, sums.model_copy(update={"seconds": plan.wall_s})]),
            "",
            f"At most {plan.request.max_active_jobs} jobs at once. {_budget_text(plan)}"
            f"Prices: {plan.prices.name}, {plan.prices.as_of}.",
            *(f"- {text}" for text in plan.prices.assumptions),
            *(f"- **Unknown price:** {what}" for what in plan.unknown_prices),
            *(f"- **Warning:** {text}" for text in [*budget_warnings(plan), *plan.warnings]),
            "",
        ]
    )


def _budget_text(plan: Plan) -> str:
    budget = plan.request.budget_usd
    return "" if budget is None else f"Budget: {usd_text(budget)} USD. "


def _cost_row(line: CostLine) -> str:
    amounts = " | ".join(usd_text(x) for x in (line.usd_low, line.usd, line.usd_high))
    return f"| {line.what} | {line.quantity} | {amounts} | {duration_text(line.seconds)} |"


def trial_line(plan: Plan, trial: Trial) -> CostLine:
    """One trial's share of the training line."""
    data, details = plan.data, plan.base_model.base_model_details
    sizes = (data.train_prompt_tokens, data.train_chosen_tokens, data.train_rejected_tokens)
    tokens = training_tokens(*sizes, trial.epochs)
    speed = plan.prices.throughput
    return CostLine.spread(
        TRAINING,
        f"{trial.job_id}, {tokens:,} tokens",
        plan.prices.training_usd(tokens, details.parameter_count if details else None),
        speed.job_overhead_s + tokens / speed.training_tokens_per_s,
        TRAINING_SPREAD,
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
