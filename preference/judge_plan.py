"""What the plan says of a judge: which model, by what rubric, tried on which labels, for how much."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel

from preference.cost import CostLine, PriceBook
from preference.labelled import LEAST_LABELS, LEAST_OF_A_KIND, MOST_LABELS, RUBRIC_PAIRS, RUBRIC_TRIES
from preference.pair_plan import PairPlan
from preference.pairwise import EXPECTED_REPLY_TOKENS, MAX_CHARACTERS
from preference.rubric import EXPECTED_RUBRIC_TOKENS
from preference.settings import PreferenceRequest

# the lines of the bill
QUALIFICATION = "Judge's qualification"
JUDGING = "Judging"
PAIR_JUDGING = "Pairs' judging"

CHARACTERS_PER_TOKEN = 4  # of English text: a rule of thumb
QUESTION_TOKENS = 450  # of a question without rubric, conversation and answers
RUBRIC_TOKENS = 200  # of one that is yet to be written
CALL_S = 5.0  # of one verdict: a guess, since it depends on the endpoint
SHORT_ANSWERS = 0.3  # of the longest that are allowed: what a low estimate counts with

_FAMILY = re.compile(r"[a-z]+")
_SAME_FAMILY = {"codellama": "llama", "mixtral": "mistral", "ministral": "mistral", "codestral": "mistral"}
_SAME_FAMILY |= {"qwq": "qwen", "chatgpt": "gpt", "smol": "smollm", "devstral": "mistral"}
_MAKERS = {"meta", "google", "microsoft", "openai", "anthropic", "mistralai", "nvidia", "accounts", "models"}


class JudgeSummary(BaseModel):
    """A judge model and where it answers."""

    name: str  # the block's, or the model's full name
    model: str  # as it is asked for
    address: str  # of its endpoint; "" for a model on the platform, which gets a deployment of its own
    usd_per_million: tuple[float, float] | None = None  # prompt and completion tokens; None: unknown, or by the hour
    max_tokens: int = 1024
    concurrency: int = 32

    @property
    def journal_name(self) -> str:
        """What its verdicts are kept under: the same model elsewhere is another one."""
        return f"{self.model} at {self.address}" if self.address else self.model


class LabelSummary(BaseModel):
    """The labelled pairs that the judge is tried on."""

    source: str
    n: int  # that will be judged
    n_shorter_better: int | None  # None: not known before the pairs are made
    longer_share: float | None  # of all labels there are: how often the longer answer is the better one
    mean_characters: float  # of a conversation with both answers

    @classmethod
    def of_pairs_to_be_made(cls, n_prompts: int) -> LabelSummary:
        """Counted as if they were as long as a judge is shown at most."""
        return cls(
            source="the delta labels of the pairs that will be made, and tried on when they exist",
            n=min(n_prompts, MOST_LABELS),
            n_shorter_better=None,
            longer_share=None,
            mean_characters=3.0 * MAX_CHARACTERS,
        )


class JudgePlan(BaseModel):
    judge: JudgeSummary
    rubric: str  # "": to be written from labelled pairs
    labels: LabelSummary

    @property
    def n_qualification_calls(self) -> int:
        tries = 1 if self.rubric else RUBRIC_TRIES
        return 2 * tries * self.labels.n + (0 if self.rubric else RUBRIC_TRIES)


def pair_judging_lines(
    plan: JudgePlan, pairs: PairPlan, request: PreferenceRequest, prices: PriceBook, mean_prompt_tokens: float
) -> list[CostLine]:
    """A judge's calls about pairs that are yet to be made, each at most as long as allowed; none without a judge."""
    n_calls = pairs.n_judge_calls
    if not n_calls:
        return []
    most = MAX_CHARACTERS / CHARACTERS_PER_TOKEN
    rubric = len(plan.rubric) / CHARACTERS_PER_TOKEN if plan.rubric else RUBRIC_TOKENS
    answers = 2 * min(pairs.settings.max_tokens, most)
    question = QUESTION_TOKENS + rubric + min(mean_prompt_tokens, most)
    written = RUBRIC_PAIRS * (question + answers) if pairs.judging and pairs.judging.writes else 0.0
    what = "the first" if pairs.n_judged == pairs.n_first else "all, the first included"
    quantity = f"{n_calls:,} calls: {pairs.n_judged:,} pairs ({what}), in both orders"
    extra = written, EXPECTED_RUBRIC_TOKENS if written else 0.0
    n_starts = 1 + pairs.settings.judge_filter  # for the first pass, and for the filter
    line = _line(plan.judge, PAIR_JUDGING, quantity, n_calls, question, answers, extra, request, prices, n_starts)
    return [line]


def judge_lines(
    plan: JudgePlan,
    request: PreferenceRequest,
    prices: PriceBook,
    n_judged: tuple[int, int],
    mean_prompt_tokens: float,
) -> list[CostLine]:
    """Qualification and judging; each at most as if every answer and every reply were as long as allowed.

    n_judged: answers compared on the half that chooses and on the one that confirms, each in both orders.
    """
    most = MAX_CHARACTERS / CHARACTERS_PER_TOKEN
    rubric = len(plan.rubric) / CHARACTERS_PER_TOKEN if plan.rubric else RUBRIC_TOKENS
    label = min(plan.labels.mean_characters / CHARACTERS_PER_TOKEN, 3 * most)
    answers = 2 * min(request.sampling.max_tokens, most)
    n_qualification, n_judging = plan.n_qualification_calls, 2 * sum(n_judged)
    n_written = 0 if plan.rubric else RUBRIC_TRIES
    extra = n_written * RUBRIC_PAIRS * label, n_written * EXPECTED_RUBRIC_TOKENS
    tried = f"{plan.labels.n} labelled pairs in both orders"
    what = tried if plan.rubric else f"at most {RUBRIC_TRIES} rubrics written, each tried on {tried}"
    questions = QUESTION_TOKENS + rubric
    return [
        _line(plan.judge, QUALIFICATION, what, n_qualification, questions + label, 0.0, extra, request, prices),
        _line(
            plan.judge,
            JUDGING,
            f"{n_judging:,} verdicts: {n_judged[0]:,} answers to choose and {n_judged[1]:,} to confirm, in both orders",
            n_judging,
            questions + min(mean_prompt_tokens, most),
            answers,
            (0.0, 0.0),
            request,
            prices,
        ),
    ]


def _line(
    judge: JudgeSummary,
    what: str,
    quantity: str,
    n_calls: int,
    fixed: float,
    answers: float,
    extra: tuple[float, float],
    request: PreferenceRequest,
    prices: PriceBook,
    n_starts: int = 1,
) -> CostLine:
    """fixed and answers: prompt tokens of one call; extra: prompt and completion tokens beside the calls.

    n_starts: how often a judge on the platform is deployed.
    """
    completion = n_calls * EXPECTED_REPLY_TOKENS + extra[1]
    prompt = n_calls * (fixed + answers) + extra[0]
    usd: list[float | None]
    if judge.address:
        seconds = n_calls * CALL_S / judge.concurrency
        if judge.usd_per_million is None:
            usd = [None, None, None]
        else:
            low = n_calls * (fixed + SHORT_ANSWERS * answers) + extra[0]
            most = n_calls * judge.max_tokens + extra[1]
            usd = [
                sum(tokens * price / 1e6 for tokens, price in zip(both, judge.usd_per_million, strict=True))
                for both in ((low, completion / 2), (prompt, completion), (prompt, most))
            ]
    else:
        speed = prices.throughput
        seconds = n_starts * speed.deployment_start_s + completion / speed.generation_tokens_per_s
        serving = request.serving
        by_hour = prices.accelerator_usd(1.0, serving.accelerator_type, serving.accelerator_count)
        asleep_s = 300.0 * n_starts  # 5 minutes until it sleeps
        hours = [(share * seconds + asleep_s) / 3600 for share in (0.5, 1.0, 2.0)]
        usd = [None if by_hour is None else by_hour * h for h in hours]
    return CostLine(what=what, quantity=quantity, usd_low=usd[0], usd=usd[1], usd_high=usd[2], seconds=seconds)


def judge_warnings(plan: JudgePlan, base_models: Sequence[str]) -> list[str]:
    """What would make a careful reader name another judge, or other labels, before anything is paid."""
    warnings = []
    if (own := family(plan.judge.model)) in {family(name) for name in base_models}:
        warnings.append(
            f"The judge {plan.judge.model} is of the same family as the tuned model ({own}): judges favour their own "
            "kind. Take one of another family where you can."
        )
    labels = plan.labels
    n_shorter = labels.n_shorter_better
    if labels.n < LEAST_LABELS or (n_shorter is not None and n_shorter < LEAST_OF_A_KIND):
        of_them = "" if n_shorter is None else f", {n_shorter} of them with a shorter better answer"
        warnings.append(
            f"The judge cannot be qualified on {labels.n} labels{of_them} ({LEAST_LABELS} and {LEAST_OF_A_KIND} are "
            "needed): the run will ask you whether to trust it unseen. Name more labels in `labelled`."
        )
    if n_shorter is None:
        warnings.append(
            "The judge will be tried on the delta labels, which nobody has checked, and only after the pairs are paid "
            "for. Name pairs in `labelled` to try it first."
        )
    return warnings


def family(model: str) -> str:
    """The model's family by its name: accounts/fireworks/models/qwen3-8b is qwen, meta-llama/Llama-3.1 is llama."""
    words = [word for word in _FAMILY.findall(model.lower().rsplit("/", 1)[-1]) if word not in _MAKERS]
    first = words[0] if words else model.lower()
    return _SAME_FAMILY.get(first, first)


def judge_text(plan: JudgePlan) -> list[str]:
    """The plan's lines about the judge, for people."""
    where = f"at {plan.judge.address}" if plan.judge.address else "on a deployment of its own"
    labels = plan.labels
    longer = "" if labels.longer_share is None else f"; the longer answer is better in {labels.longer_share:.0%} of all"
    rubric = (
        [f"  > {line}" for line in plan.rubric.splitlines()]
        if plan.rubric
        else [
            "  - It writes the rubric itself, from labelled pairs; the rubric must predict pairs that it has not seen."
        ]
    )
    return [
        f"- Judge `{plan.judge.model}` {where} compares each candidate's answers with the base's, in both orders"
        + (", by this rubric:" if plan.rubric else "."),
        *rubric,
        f"  - First it is tried on {labels.n} labelled pairs ({labels.source}{longer}). Below the line the run asks "
        "you before anything is decided by it: you may stop there, and give an evaluator by code or another judge.",
    ]
