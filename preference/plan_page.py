"""The page of a plan, which a human approves."""

from __future__ import annotations

from preference.cost import (
    CostLine,
    duration_text,
    total,
    usd_text,
)
from preference.estimates import errors_text
from preference.evaluator_plan import evaluator_text
from preference.halving import halving_text
from preference.judge_plan import judge_text
from preference.memory import memory_text
from preference.pair_plan import pair_notes
from preference.plan import Plan
from preference.plan_lines import job_line, job_tokens
from preference.search_text import search_text
from preference.wire import resource_id


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
        sums = total([job_line(base, trial, plan.prices) for trial in trials])
        tokens = sum(job_tokens(base, trial) for trial in trials)
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
