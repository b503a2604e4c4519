"""final_report.md, from what the session's folder holds: the same page for every ending, without guesses."""

from __future__ import annotations

import re

from preference.advice import worth_trying
from preference.approval import approval_text
from preference.comparison_page import comparison_markdown, headline_text
from preference.cost import duration_text
from preference.pairs_page import pairs_markdown
from preference.plan import Plan
from preference.plan_page import bases_text
from preference.qualification import qualification_markdown
from preference.report_cost import cost_section
from preference.report_facts import EndpointFacts, ReportFacts
from preference.search_text import draws_text
from preference.session import Outcome

PICTURES = {
    "win-rates": "Win rate of each candidate against the base, with 95 % intervals",
    "lengths": "Words of the base's and of the proposed candidate's answer to each prompt",
    "training": "Loss and pair accuracy of each trial by optimizer step",
}


def final_report(facts: ReportFacts) -> str:
    """The report as markdown; its first line is the verdict, its second one the numbers of it."""
    parts = [
        f"# {_outcome(facts)}: preference learning, session {facts.record.session}",
        _verdict(facts),
        _target(facts),
        _what_now(facts),
        _comparison(facts),
        _judge(facts),
        _endpoint(facts),
        _examples(facts),
        _pairs(facts),
        _training(facts),
        _next(facts),
        cost_section(facts),
        _evaluator(facts),
        _provenance(facts),
        _verifying(facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _verdict(facts: ReportFacts) -> str:
    outcome, shown = facts.record.outcome, facts.comparison and facts.comparison.headline
    if outcome is Outcome.PROMOTED and facts.endpoint and facts.comparison:
        promoted = _promoted(facts)
        if promoted == facts.comparison.proposed and shown:
            how = "" if facts.comparison.clear else ", as told: the candidates show no clear winner"
            return f"**Promoted {promoted}{how}.** {headline_text(shown)}"
        return (
            f"**Promoted {promoted}, as told. That is not the proposed winner "
            f"({facts.comparison.proposed or 'there was none'}), and it was not confirmed.**"
        )
    measured = f". {headline_text(shown)}" if shown else ""
    return f"**{_outcome(facts)}.** {facts.record.message.rstrip('.') if shown else facts.record.message}{measured}"


def _outcome(facts: ReportFacts) -> str:
    """In a word or two."""
    outcome = facts.record.outcome
    if outcome is Outcome.PROMOTED and facts.endpoint and facts.comparison:
        return f"Promoted {_promoted(facts)}"
    words = {
        Outcome.NOT_PROMOTED: "Not promoted",
        Outcome.REJECTED: "Rejected",
        Outcome.TIMED_OUT: "Timed out",
        Outcome.CANCELLED: "Cancelled",
        Outcome.OUT_OF_BUDGET: "Out of budget",
        Outcome.FAILED: "Failed",
    }
    return words[outcome] if outcome in words else str(facts.record.state).capitalize()


def _target(facts: ReportFacts) -> str:
    """Met or not, and whether the sweep ended early for it."""
    told = [facts.comparison.target] if facts.comparison and facts.comparison.target else []
    if facts.stopped:
        n_not = sum(fact.job_state != "JOB_STATE_COMPLETED" for fact in facts.trials)
        told.append(
            f"**The sweep was stopped early:** {facts.stopped.reason}. {n_not} of {len(facts.trials)} trials were "
            "cancelled, or not started."
        )
    return "\n\n".join(told)


def _promoted(facts: ReportFacts) -> str | None:
    assert facts.comparison is not None
    assert facts.endpoint is not None
    return next(
        (s.contestant.name for s in facts.comparison.candidates if s.contestant.model == facts.endpoint.model),
        None,
    )


def _what_now(facts: ReportFacts) -> str:
    """What to do after an ending that nobody wanted."""
    session = facts.record.session
    advice = {
        Outcome.OUT_OF_BUDGET: "What ran was cancelled, what waited was not started. To go on where it stopped: the "
        f"same request with `session: {session}` and a higher `budget_usd`; the plan is asked about again.",
        Outcome.FAILED: f"Mend the cause and go on where it stopped: start the same request with `session: {session}`."
        " What was trained and answered is kept and not paid for again.",
        Outcome.CANCELLED: "Its training jobs were cancelled and its evaluation deployment was taken down. Tuned "
        "models that were finished are still on the platform.",
        Outcome.TIMED_OUT: "Start a new run, or give `gate_timeout_days` more.",
        Outcome.REJECTED: "Change the request and start a new run.",
    }
    outcome = facts.record.outcome
    return advice.get(outcome, "") if outcome else ""


def _comparison(facts: ReportFacts) -> str:
    if facts.comparison is None:
        return ""
    shown = ["## Comparison", comparison_markdown(facts.comparison).strip(), _picture(facts, "win-rates")]
    return "\n\n".join(part for part in shown if part)


def _judge(facts: ReportFacts) -> str:
    return f"## The judge\n\n{qualification_markdown(facts.judge).strip()}" if facts.judge else ""


def _evaluator(facts: ReportFacts) -> str:
    """The code in full, within a fence that it cannot end itself."""
    found = facts.evaluator
    if found is None:
        return ""
    if not found.n_tried:
        tried = "It was not tried on answers before the training."
    elif found.faults:
        tried = f"Tried on {found.n_tried} answers of training pairs, twice: {'; '.join(found.faults)}."
    else:
        tried = (
            f"Tried on {found.n_tried} answers of training pairs before anything was trained: its scores were between "
            "0 and 1, told answers apart, and were the same when asked again."
        )
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", found.code)), default=0))
    return f"## The evaluator\n\n{tried}\n\n`{found.file}`:\n\n{fence}python\n{found.code.strip()}\n{fence}"


def _picture(facts: ReportFacts, name: str) -> str:
    return f"![{PICTURES[name]}](figures/{name}.png)" if name in facts.pictures else ""


def _endpoint(facts: ReportFacts) -> str:
    found = facts.endpoint
    if found is None:
        return ""
    return f"""## Endpoint

- Model: `{found.model}`
- Deployment: `{found.deployment}`
- Chat completions: `{found.base_url}/chat/completions`, with `"model": "{found.address}"`
- Asked “{found.question}”, it answered: “{found.answer.strip()}”

```python
{snippet(found)}
```"""


def snippet(endpoint: EndpointFacts) -> str:
    """The official SDK's few lines for this model; they run as they stand where FIREWORKS_API_KEY is set or not."""
    root = endpoint.base_url.removesuffix("/v1")
    return f"""import os

from fireworks import Fireworks

client = Fireworks(
    api_key=os.environ.get("FIREWORKS_API_KEY", "none-needed-locally"),
    base_url="{root}",
    max_retries=100,  # a deployment that sleeps answers 503 until it is awake
)
response = client.chat.completions.create(
    model="{endpoint.address}",
    messages=[{{"role": "user", "content": {endpoint.question!r}}}],
    temperature=0.0,
    max_tokens=128,
)
print(response.choices[0].message.content)"""


def _examples(facts: ReportFacts) -> str:
    if not facts.examples:
        return ""
    blocks = [
        f"**{e['kind']}**: {_one_line(e['prompt'])}\n\n"
        f"- base{_in_brackets(e['base_score'])}: {_one_line(e['base'])}{_because(e['base_reason'])}\n"
        f"- tuned{_in_brackets(e['tuned_score'])}: {_one_line(e['tuned'])}{_because(e['tuned_reason'])}"
        + (f"\n- the judge, of the tuned answer {_one_line(e['judge'], 800)}" if e["judge"] else "")
        for e in facts.examples
    ]
    return "\n\n".join(part for part in ("## Examples", *blocks, _picture(facts, "lengths")) if part)


def _because(reason: str) -> str:
    """What the evaluator says to its score, where it says anything."""
    return f"\n  - the evaluator: {_one_line(reason)}" if reason else ""


def _in_brackets(score: str) -> str:
    return f" ({score})" if score else ""


def _one_line(text: str, limit: int = 400) -> str:
    """On one line, and cut with a mark where it is long."""
    flat = " ".join(text.split()) or "(empty)"
    return flat if len(flat) <= limit else f"{flat[:limit]}… ({len(flat)} characters)"


def _pairs(facts: ReportFacts) -> str:
    return f"## Pairs from prompts\n\n{pairs_markdown(facts.pairs)}" if facts.pairs else ""


def _training(facts: ReportFacts) -> str:
    if not facts.trials:
        return ""
    rows = [
        "| trial | settings | job | loss, first → last | pair accuracy | steps | time | seed |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for fact in facts.trials:
        state = fact.job_state.removeprefix("JOB_STATE_").lower().replace("_", " ")
        told = f"{state}: {_one_line(fact.message, 200)}" if fact.message else state
        rows.append(
            f"| {fact.trial.name} | {fact.trial.label} | `{fact.trial.job_id}` {told} "
            f"| {_number(fact.first_loss)} → {_number(fact.last_loss)} | {_number(fact.last_accuracy)} "
            f"| {fact.n_steps} | {duration_text(fact.seconds) if fact.seconds is not None else '–'} "
            f"| {fact.seed if fact.seed is not None else 'not told'} |"
        )
    doubts = [f"- {fact.trial.name}: {text}" for fact in facts.trials for text in fact.health]
    told = "\n\nTraining metrics that look wrong:\n\n" + "\n".join(doubts) if doubts else ""
    picture = f"\n\n{_picture(facts, 'training')}" if "training" in facts.pictures else ""
    drawn = f"\n\n{draws_text(facts.draws)}" if facts.draws else ""
    return "## Training\n\n" + "\n".join(rows) + drawn + picture + told


def _next(facts: ReportFacts) -> str:
    if facts.comparison is None:
        return ""
    found = worth_trying(facts.comparison, [fact.trial for fact in facts.trials])
    return "## Worth trying next\n\n" + "\n".join(f"- {text}" for text in found) if found else ""


def _provenance(facts: ReportFacts) -> str:
    lines = []
    plan = facts.plan
    if plan is not None:
        n_pairs = facts.pairs.n_valid if facts.pairs else plan.data.n_train
        lines += [
            *bases_text(plan),
            f"- Platform `{plan.platform}`; prices: {plan.prices.name}, {plan.prices.as_of}",
            *(f"- {role}: {told}" for role, told in facts.datasets.items()),
            f"- {n_pairs} training pairs, {plan.data.n_held_out} held-out prompts, {_overlap(plan)}",
            *(f"  - {note}" for note in plan.data.notes),
            *_scored_by(plan),
        ]
    lines += [f"- {approval_text(approval)}" for approval in facts.approvals]
    lines += [f"- {name} {version}" for name, version in facts.versions.items()]
    return "## Where this comes from\n\n" + "\n".join(lines) if lines else ""


def _scored_by(plan: Plan) -> list[str]:
    if plan.judge is not None:
        judge = plan.judge.judge
        return [f"- Judge `{judge.model}`{f' at {judge.address}' if judge.address else ''} ({judge.name})"]
    code = plan.evaluator
    if code is None:
        return []
    return [f"- Evaluator `{code.name}` ({code.entry_point}), sha256 `{code.sha256}`, {code.sandbox}"]


def _overlap(plan: Plan) -> str:
    return "SOME on both sides, as asked" if plan.request.keep_leaked_prompts else "none on both sides"


def _verifying(facts: ReportFacts) -> str:
    """How the reader checks this page, where there is something to check."""
    if facts.comparison is None:
        return ""
    session = facts.record.session
    return (
        f"## How to check it\n\n`prefworks verify {session}` computes every number on this page again from the "
        "session's folder (held-out prompts, journal, verdicts, metrics) and names what differs. No server is needed."
    )


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
