"""What is shown of made pairs: the first pass at its gate, and pairs/report.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from preference.cost import usd_text
from preference.ledger import Spent
from preference.pairs import FirstPass, PairsMade

UNTRIED = (
    "These pairs are the only labels, so that the judge could not be tried before: either the strong model is no "
    "better, or the judge does not see it. Look at the answers below, or name pairs in `labelled` to try it on.\n"
)


def pairs_markdown(made: PairsMade) -> str:
    """pairs/report.md, and the final report's section."""
    settings = made.settings
    rows = [f"| {reason} | {n:,} |" for reason, n in made.drops.items()]
    share = made.n_valid / made.n_prompts if made.n_prompts else 0.0
    return "\n".join(
        [
            f"{made.n_valid:,} pairs from {made.n_prompts:,} training prompts ({share:.0%}): the answer of "
            f"`{made.strong.model}` is chosen over that of `{made.weak.model}`, by construction. No held-out prompt "
            "is among them.",
            "",
            f"- First pass: {made.first_pass.text()}." + _no_position(made.first_pass),
            *([f"- Judge's filter, on all valid pairs: {made.judged.text()}"] if made.judged else []),
            f"- Sampling: temperature {settings.temperature:g}, at most {settings.max_tokens:,} tokens an answer",
            f"- Lengths of all that both answered ({made.length_counter}): {made.before.text()}",
            f"- Lengths of the valid pairs: {made.after.text()}",
            *(
                f"- {name}: {use.n_answers:,} answers of `{use.model}`, {use.prompt_tokens:,} prompt and "
                f"{use.completion_tokens:,} completion tokens"
                for name, use in (("Strong", made.strong), ("Weak", made.weak))
            ),
            *(
                [f"- Dataset: `{made.dataset}`; each pair's origin is in `pairs/provenance.jsonl`"]
                if made.dataset
                else []
            ),
            *([f"- Cost: {costs_text(made.costs)}"] if made.costs else []),
            *(["", "| left out because of | prompts |", "| --- | ---: |", *rows] if rows else []),
        ]
    )


def _no_position(found: FirstPass) -> str:
    by_code = found.judged_by is not None and found.judged is None
    return " Code scores each answer by itself, so there is no position to be biased by." if by_code else ""


def costs_text(costs: Mapping[str, Spent]) -> str:
    """What each line of the plan came to, in USD, with what is not known said as such."""
    told = []
    for line, spent in costs.items():
        more = "" if spent.at_most_usd is None else f", at most {usd_text(spent.at_most_usd)}"
        told.append(f"{line.lower()} {usd_text(spent.usd)} USD" + ("" if spent.known else f" and more{more}"))
    return "; ".join(told)


def first_pass_markdown(found: FirstPass, strong: str, weak: str, examples: Sequence[tuple[str, str, str]]) -> str:
    """The page of the gate that opens where the two models are not told apart. examples: prompt, strong, weak."""
    return "\n".join(
        [
            "# Pairs: the strong model does not show that it is better",
            "",
            f"Strong `{strong}`, weak `{weak}`. {found.text()[0].upper()}{found.text()[1:]}. To go on without asking, "
            "the 95 % interval of the win rate must lie above 50 %.",
            "",
            *(f"- {n} left out: {reason}" for reason, n in found.drops.items()),
            "",
            *([] if found.tried else [UNTRIED]),
            "Pairs without a clear gap teach little or the wrong thing. *Stop* ends the run with nothing more bought; "
            "start a new one with models further apart, or other limits in `pairs`. *Continue* buys the rest as "
            "planned.",
            *(
                f"\n**{_short(prompt)}**\n\n- strong: {_short(ours)}\n- weak: {_short(theirs)}"
                for prompt, ours, theirs in examples
            ),
            "",
        ]
    )


def _short(text: str, limit: int = 300) -> str:
    flat = " ".join(text.split()) or "(empty)"
    return flat if len(flat) <= limit else f"{flat[:limit]}…"
