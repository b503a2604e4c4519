"""What the plan says of pairs that are still to be made: two models, how many prompts, what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from preference.bases import PlannedBase
from preference.cost import SCALE_DOWN_S, TIME_SPREAD, CostLine, PriceBook
from preference.settings import PairGeneration, Serving
from preference.wire import Model, resource_id

# lines of the bill
STRONG_ANSWERS = "Pair generation, strong model"
WEAK_ANSWERS = "Pair generation, weak model"

GUESSED_SHARE = 0.5  # of max_tokens: how long answers are taken to be before there are any
GUESSED_SPREAD = (0.2, 2.0)  # from a tenth of max_tokens to all of it


class PairSize(BaseModel):
    """The pairs as they were made, in rows and in one base model's tokens."""

    n_pairs: int
    prompt_tokens: int
    chosen_tokens: int
    rejected_tokens: int


class PairPlan(BaseModel):
    """Which models write the pairs, for how many prompts."""

    strong: Model
    weak: Model
    picked: bool  # by the planner, not named in the request
    n_prompts: int  # training prompts that are asked
    judged_by: str | None  # who looks at the first pass; None: nobody
    settings: PairGeneration
    made: dict[str, PairSize] = {}  # by base model, once they are there; the approved page does not have it


def with_pairs(bases: Sequence[PlannedBase], pairs: PairPlan) -> list[PlannedBase]:
    """The bases with the data as it will be trained on: the most pairs there can be, of a guessed length."""
    tokens = round(pairs.n_prompts * pairs.settings.max_tokens * GUESSED_SHARE)
    return [
        _with_size(
            base,
            PairSize(
                n_pairs=pairs.n_prompts,
                prompt_tokens=round(base.data.train_prompt_tokens * pairs.n_prompts / base.data.n_train),
                chosen_tokens=tokens,
                rejected_tokens=tokens,
            ),
            guessed=True,
        )
        for base in bases
    ]


def base_as_made(base: PlannedBase, pairs: PairPlan) -> PlannedBase:
    """The base with the pairs that are there; as it was planned with, where they are still to be made."""
    made = pairs.made.get(base.model.name)
    return _with_size(base, made, guessed=False) if made else base


def _with_size(base: PlannedBase, size: PairSize, *, guessed: bool) -> PlannedBase:
    tokens = {
        "n_train": size.n_pairs,
        "train_prompt_tokens": size.prompt_tokens,
        "train_chosen_tokens": size.chosen_tokens,
        "train_rejected_tokens": size.rejected_tokens,
        "guessed": guessed,
    }
    return base.model_copy(update={"data": base.data.model_copy(update=tokens)})


def pair_lines(pairs: PairPlan, serving: Serving, prices: PriceBook) -> list[CostLine]:
    """A deployment for each model, paid by the hour."""
    return [
        _line(STRONG_ANSWERS, pairs.strong, pairs, serving, prices),
        _line(WEAK_ANSWERS, pairs.weak, pairs, serving, prices),
    ]


def _line(what: str, model: Model, pairs: PairPlan, serving: Serving, prices: PriceBook) -> CostLine:
    tokens = pairs.n_prompts * pairs.settings.max_tokens
    speed, details = prices.throughput, model.base_model_details
    slow = speed.seconds_for_size(details.parameter_count if details else None)
    seconds = speed.deployment_start_s + tokens * slow / speed.generation_tokens_per_s
    accelerator = (serving.accelerator_type, serving.accelerator_count)
    return CostLine.spread(
        what,
        f"{resource_id(model.name)} on {prices.accelerator_text(*accelerator)}, {pairs.n_prompts:,} prompts, at most "
        f"{tokens:,} tokens",
        prices.accelerator_usd((seconds + SCALE_DOWN_S) / 3600, *accelerator),
        seconds,
        TIME_SPREAD,
    )


def pair_notes(pairs: PairPlan) -> list[str]:
    """Lines of the plan's page."""
    settings = pairs.settings
    judged = f"judged by {pairs.judged_by}" if pairs.judged_by else "unjudged: nobody looks whether they are better"
    first = min(settings.first_prompts, pairs.n_prompts)
    return [
        f"Pairs are made from {pairs.n_prompts:,} training prompts, never from held-out ones: the answer of strong "
        f"`{pairs.strong.name}` is chosen over that of weak `{pairs.weak.name}`, by construction"
        + (" (picked: the largest and the smallest of the base's family)" if pairs.picked else ""),
        f"Sampling: temperature {settings.temperature:g}, at most {settings.max_tokens:,} tokens. Left out: answers "
        "that are empty, cut off, refusals or unfinished thinking; pairs with a similarity of "
        f"{settings.max_similarity:g} or more, or a length gap over {settings.max_length_gap} tokens",
        f"The first {first} prompts are {judged}"
        + (
            "; if the strong model does not win clearly, the run asks before it buys the rest"
            if pairs.judged_by
            else ""
        ),
        f"Training is priced as if every prompt gave a pair with answers of {GUESSED_SHARE:.0%} of max_tokens: a "
        "guess, until the pairs are there",
    ]
