"""What the plan says of pairs that are still to be made: two models, how many prompts, what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from preference.bases import PlannedBase
from preference.cost import SCALE_DOWN_S, TIME_SPREAD, CostLine, PriceBook, total, usd_text
from preference.settings_models import PairGeneration, Serving
from preference.wire import Model, resource_id

# lines of the bill
STRONG_ANSWERS = "Pair generation, strong model"
WEAK_ANSWERS = "Pair generation, weak model"

BATCH_FROM = 1000  # prompts: fewer answers are not worth hours of waiting; a guess
GUESSED_SHARE = 0.5  # of max_tokens: how long answers are taken to be before there are any
GUESSED_SPREAD = (0.2, 2.0)  # from a tenth of max_tokens to all of it


class PairSize(BaseModel):
    """The pairs as they were made, in rows and in one base model's tokens."""

    n_pairs: int
    prompt_tokens: int
    chosen_tokens: int
    rejected_tokens: int


class PairJudging(BaseModel):
    """How far a judge is known when it looks at pairs."""

    tried: bool  # on labels that are there before the pairs; else these very pairs are all there is to try it on
    writes: bool  # it has no rubric by then, and writes one from some of the first pairs
    deployed: bool = False  # by the hour, for whose start both models wait


class PairPlan(BaseModel):
    """Which models write the pairs, for how many prompts."""

    strong: Model
    weak: Model
    picked: bool  # by the planner, not named in the request
    n_prompts: int  # training prompts that are asked
    judged_by: str | None  # who looks at the first pass; None: nobody
    judging: PairJudging | None = None  # where that is a judge and not an evaluator's code
    settings: PairGeneration
    batch_offer: str = ""  # what batch inference would save, for people; "" where it is not offered
    made: dict[str, PairSize] = {}  # by base model, once they are there; the approved page does not have it

    @property
    def n_first(self) -> int:
        """Prompts of the first pass."""
        return min(self.settings.first_prompts, self.n_prompts)

    @property
    def n_judged(self) -> int:
        """Pairs that a judge compares, at most; each in both orders."""
        if self.judging is None:
            return 0
        return self.n_prompts if self.settings.judge_filter else self.n_first

    @property
    def n_judge_calls(self) -> int:
        """For the first pass and the filter, without the judge's qualification.

        With a rubric of its own making an untried judge asks about the first pairs twice: the one that it is
        qualified with comes later, and may be another.
        """
        if self.judging is None:
            return 0
        again = self.n_first if self.judging.writes and self.settings.judge_filter else 0
        return 2 * (self.n_judged + again) + self.judging.writes


def with_pairs(bases: Sequence[PlannedBase], pairs: PairPlan) -> list[PlannedBase]:
    """The bases with the data as it will be trained on: the most pairs there can be, of a guessed length."""
    tokens = round(pairs.n_prompts * pairs.settings.max_tokens * GUESSED_SHARE)
    return [
        _with_size(
            _with_longer_rows(base, pairs.settings.max_tokens),
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


def _with_longer_rows(base: PlannedBase, max_tokens: int) -> PlannedBase:
    """Each prompt may get an answer of so many tokens."""
    longest = base.data.longest_tokens + max_tokens
    return base.model_copy(update={"data": base.data.model_copy(update={"longest_tokens": longest})})


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


def pair_lines(pairs: PairPlan, serving: Serving, prices: PriceBook, prompt_tokens: float) -> list[CostLine]:
    """By the hour on a deployment for each model, or by the token in batch. prompt_tokens: of all prompts together."""
    both = ((STRONG_ANSWERS, pairs.strong), (WEAK_ANSWERS, pairs.weak))
    if pairs.settings.batch:
        return [_batch_line(what, model, pairs, prices, prompt_tokens) for what, model in both]
    return [_line(what, model, pairs, serving, prices) for what, model in both]


def batch_offer(pairs: PairPlan, serving: Serving, prices: PriceBook, prompt_tokens: float) -> str:
    """What batch inference would save, from BATCH_FROM prompts on; "" where that is nothing, or not known."""
    if pairs.settings.batch or pairs.n_prompts < BATCH_FROM:
        return ""
    in_batch = pairs.model_copy(update={"settings": pairs.settings.model_copy(update={"batch": True})})
    now, then = (total(pair_lines(p, serving, prices, prompt_tokens)) for p in (pairs, in_batch))
    if now.usd is None or then.usd is None or then.usd >= now.usd:
        return ""
    return (
        f"Batch inference would have the answers for about {usd_text(then.usd)} instead of {usd_text(now.usd)} USD "
        f"({usd_text(now.usd - then.usd)} less), at half the serverless price, within hours or days: `pairs.batch`, or "
        f"change the plan with “use batch inference”{_batch_doubt(pairs)}"
    )


def _line(what: str, model: Model, pairs: PairPlan, serving: Serving, prices: PriceBook) -> CostLine:
    tokens = pairs.n_prompts * pairs.settings.max_tokens
    n_starts = 1 + (pairs.judging is not None and pairs.judging.deployed)
    seconds = n_starts * prices.throughput.deployment_start_s + _generation_s(model, tokens, prices)
    accelerator = (serving.accelerator_type, serving.accelerator_count)
    return CostLine.spread(
        what,
        f"{resource_id(model.name)} on {prices.accelerator_text(*accelerator)}, {pairs.n_prompts:,} prompts, at most "
        f"{tokens:,} tokens",
        prices.accelerator_usd((seconds + SCALE_DOWN_S) / 3600, *accelerator),
        seconds,
        TIME_SPREAD,
    )


def _batch_line(what: str, model: Model, pairs: PairPlan, prices: PriceBook, prompt_tokens: float) -> CostLine:
    """Expected with answers of the guessed length; at most as if each were as long as allowed."""
    tokens = pairs.n_prompts * pairs.settings.max_tokens
    low, expected, high = (
        batch_usd(model, prompt_tokens, tokens * GUESSED_SHARE * share, prices)
        for share in (GUESSED_SPREAD[0], 1.0, GUESSED_SPREAD[1])
    )
    return CostLine(
        what=what,
        quantity=f"{resource_id(model.name)} in batch, {pairs.n_prompts:,} prompts, at most {tokens:,} tokens",
        usd_low=low,
        usd=expected,
        usd_high=high,
        seconds=prices.throughput.batch_wait_s + _generation_s(model, tokens, prices),
    )


def batch_usd(model: Model, prompt_tokens: float, completion_tokens: float, prices: PriceBook) -> float | None:
    """What these tokens cost by batch inference; None where that is not known, as for every tuned model."""
    size = None if model.peft_details else _parameters(model)
    return prices.batch_usd(prompt_tokens, completion_tokens, resource_id(model.name), size)


def _generation_s(model: Model, tokens: float, prices: PriceBook) -> float:
    slow = prices.throughput.seconds_for_size(_parameters(model))
    return tokens * slow / prices.throughput.generation_tokens_per_s


def _parameters(model: Model) -> int | None:
    return model.base_model_details.parameter_count if model.base_model_details else None


def pair_notes(pairs: PairPlan) -> list[str]:
    """Lines of the plan's page."""
    settings = pairs.settings
    judged = f"judged by {pairs.judged_by}" if pairs.judged_by else "unjudged: nobody looks whether they are better"
    judged += _how_known(pairs.judging) if pairs.judging else ""
    first = pairs.n_first
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
        *(
            [
                f"Then {pairs.judged_by} compares all pairs, in both orders: those that it reverses, ties or does not "
                "read are left out, too"
            ]
            if pairs.n_judged and settings.judge_filter
            else []
        ),
        *([pairs.batch_offer] if pairs.batch_offer else []),
        *([_batch_note(pairs)] if settings.batch else []),
        f"Training is priced as if every prompt gave a pair with answers of {GUESSED_SHARE:.0%} of max_tokens: a "
        "guess, until the pairs are there",
    ]


def _how_known(judging: PairJudging) -> str:
    """What is to be said of a judge that looks at pairs before it was tried on any."""
    if judging.tried:
        return ", in both orders"
    rubric = ", by a rubric that it writes from some of them and is asked about the others" if judging.writes else ""
    return (
        f", in both orders{rubric}; it has not been tried by then, since these pairs are the only labels: where it "
        "does not see the strong model win, either of the two may be at fault (name pairs in `labelled` to try it "
        "first)"
    )


def _batch_note(pairs: PairPlan) -> str:
    return f"The answers are written by batch inference, by the token, within hours or days{_batch_doubt(pairs)}"


def _batch_doubt(pairs: PairPlan) -> str:
    """A word on models that the platform may not take in batch; "" where there is none."""
    doubtful = [m for m in (pairs.strong, pairs.weak) if m.peft_details is not None or not m.supports_serverless]
    if not doubtful:
        return ""
    names = " and ".join(f"`{resource_id(model.name)}`" for model in doubtful)
    return (
        f" (not listed as served serverless: {names}; if the platform has no batch inference of it, its job stays "
        "pending, and the run ends after a day)"
    )
