"""The report's section on money and time."""

from __future__ import annotations

from preference.cost import CostLine, duration_text, total, usd_text
from preference.plan_lines import FIRST_HOUR
from preference.report_facts import ReportFacts


def cost_section(facts: ReportFacts) -> str:
    """Estimated against actual, line by line; empty where nothing was planned."""
    if facts.plan is None:
        return ""
    actual = {line.what: line for line in facts.actual}
    rows = [
        "| cost | estimated, USD | actual, USD | difference | estimated time | actual time |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    planned = {line.what: line for line in facts.plan.lines}
    for what in [*planned, *(what for what in actual if what not in planned)]:
        rows.append(_cost_row(what, planned.get(what), actual.get(what)))
    rows.append(_cost_row("**Total**", total(facts.plan.lines), total(facts.actual), timed=False))
    notes = ["Actual cost is computed from usage, metrics and deployment time at the plan's prices."]
    notes += [
        f"{line.what}: {line.quantity}; {usd_text(line.usd_low)} USD of it are known"
        + ("." if line.usd_high is None else f", and it is at most {usd_text(line.usd_high)} USD in all.")
        for line in facts.actual
        if line.usd is None
    ]
    if facts.endpoint and FIRST_HOUR in planned and planned[FIRST_HOUR].usd != 0:
        per_hour = usd_text(planned[FIRST_HOUR].usd)
        notes.append(f"The deployed model goes on costing while it is awake: {per_hour} USD an hour.")
    notes += [
        f"{u.n_answers} answers of `{u.model}`: {u.prompt_tokens:,} prompt and "
        f"{u.completion_tokens:,} completion tokens."
        for u in facts.usage
    ]
    if facts.n_possibly_billed_twice:
        notes.append(
            f"{facts.n_possibly_billed_twice} calls were in flight when a process died, and may have been billed twice."
        )
    return "## Cost\n\n" + "\n".join(rows) + "\n\n" + "\n".join(f"- {note}" for note in notes)


def _cost_row(what: str, planned: CostLine | None, real: CostLine | None, *, timed: bool = True) -> str:
    """Estimated against actual; a dash is what was not planned, or did not take place."""
    estimated, actual = (line.usd if line else None for line in (planned, real))
    difference = None if estimated is None or actual is None else actual - estimated
    cells = [
        usd_text(planned.usd) if planned else "–",
        usd_text(real.usd) if real else "–",
        "–" if difference is None else f"{difference:+.2f}",
        duration_text(planned.seconds) if planned and timed else "–",
        duration_text(real.seconds) if real and timed else "–",
    ]
    return f"| {what} | {' | '.join(cells)} |"
