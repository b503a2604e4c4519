"""Delta learning: a strong model's answer is chosen over a weak one's, by construction (arXiv 2507.06187).

No judge labels a pair, so a pair is only as good as the gap between the two models and as what is kept out: what
is here are the reasons for which a pair is left out, and what is said of the rest.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel
from rapidfuzz.distance import Indel

from preference.fingerprints import normalise
from preference.ledger import Spent
from preference.pair_judging import JudgedPairs
from preference.pair_plan import PairSize
from preference.rates import mean_score, scores_to_outcomes, win_rate
from preference.settings_models import PairGeneration
from preference.standings import Estimate

CONTENT_FILTER = "content_filter"  # a finish_reason of OpenAI-compatible APIs
CUT = "length"

# how assistants decline: as the first words, since further on these are about something
_REFUSAL = re.compile(
    r"(i['’]?m|i am|we['’]?re|we are) (very |really |truly |so )?(sorry|afraid)\b[^.!?\n]{0,60}\b"
    r"(can['’]?t|cannot|can not|unable|not able|won['’]?t|not comfortable)"
    r"|(sorry|apologies|unfortunately)\b[^.!?\n]{0,40}\bi (can['’]?t|cannot|can not|am unable|am not able|won['’]?t)"
    r"|i (can['’]?t|cannot|can not|won['’]?t|will not|am unable to|am not able to|['’]?m unable to|must decline"
    r"|refuse to|do not feel comfortable|don['’]?t feel comfortable)\b[^.!?\n]{0,40}?"
    r"(help|assist|answer|provide|comply|do that|do this|fulfil|discuss|create|write|engage|support|generate)"
    r"|as an ai( language)?( model)?,? i (can['’]?t|cannot|can not|am unable|am not able|do not|don['’]?t)",
    re.IGNORECASE,
)
_REFUSAL_WITHIN = 200  # characters


NOT_TRIED = "the judge was not tried before"


class Side(BaseModel):
    """One model's answer to one prompt."""

    text: str = ""
    finish_reason: str | None = None
    n_tokens: int = 0  # of the base model that will be tuned, thinking left out
    thinking_open: bool = False
    failure: str | None = None  # why there is no answer
    refused: bool = False  # by the platform, for good


class Length(BaseModel):
    """Tokens of some pairs' answers, by the base model's tokenizer. None: there are no pairs."""

    chosen_mean: float | None = None
    rejected_mean: float | None = None
    gap_p80: float | None = None  # 80th percentile of chosen - rejected: what OLMo 3 gives (arXiv 2512.13961)

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]]) -> Length:
        """pairs: tokens of the strong and of the weak model's answer."""
        if not pairs:
            return cls()
        chosen, rejected = np.array(pairs, dtype=np.int64).T
        return cls(
            chosen_mean=round(float(chosen.mean()), 1),
            rejected_mean=round(float(rejected.mean()), 1),
            gap_p80=float(np.percentile(chosen - rejected, 80)),
        )

    def text(self) -> str:
        if self.chosen_mean is None or self.rejected_mean is None:
            return "no pairs"
        return (
            f"chosen {self.chosen_mean:,} tokens on average, rejected {self.rejected_mean:,}, "
            f"80th percentile of the gap {self.gap_p80:+,.0f}"
        )


def is_refusal(text: str) -> bool:
    """Whether an answer begins by declining."""
    return _REFUSAL.search(text[:_REFUSAL_WITHIN]) is not None


def similarity(one: str, other: str) -> float:
    """Share of the two texts' words that are common to both in the same order, 0 to 1 (Indel, normalised)."""
    return float(Indel.normalized_similarity(one.split(), other.split()))


def why_dropped(
    strong: Side, weak: Side, settings: PairGeneration, *, n_prompt_tokens: int = 0, context_length: int | None = None
) -> str | None:
    """The first reason to leave the pair out; None for one to train on.

    Pairs that are much alike are kept out since they push down what they should lift (likelihood displacement,
    arXiv 2410.08847); pairs of unlike length, since they teach length (arXiv 2512.13961).
    """
    for name, side in (("strong", strong), ("weak", weak)):
        if reason := _why_not(side):
            return f"{reason} ({name})"
    ours, theirs = normalise(strong.text), normalise(weak.text)
    if ours == theirs:
        return "the same answer from both"
    if similarity(ours, theirs) >= settings.max_similarity:
        return f"too alike (similarity {settings.max_similarity:g} or more)"
    if abs(strong.n_tokens - weak.n_tokens) > settings.max_length_gap:
        return f"length gap over {settings.max_length_gap} tokens"
    if context_length and n_prompt_tokens + max(strong.n_tokens, weak.n_tokens) > context_length:
        return f"longer than the context of {context_length} tokens"
    return None


def _why_not(side: Side) -> str | None:
    if side.failure is not None:
        return "content refused" if side.refused else "no answer"
    if side.finish_reason == CONTENT_FILTER:
        return "content refused"
    if side.thinking_open:
        return "thinking without an end"
    if side.finish_reason == CUT:
        return "cut off"
    if not side.text.strip():
        return "empty answer"
    return "refusal" if is_refusal(side.text) else None


def pair_row(source: dict[str, Any], strong: str, weak: str) -> dict[str, Any]:
    """Format A of a prompt's row and its two answers."""
    prompt = {key: source[key] for key in ("messages", "tools") if source.get(key)}
    return {
        "input": prompt,
        "preferred_output": [{"role": "assistant", "content": strong}],
        "non_preferred_output": [{"role": "assistant", "content": weak}],
    }


class FirstPass(BaseModel):
    """What some twenty prompts say of the two models, before the rest is bought."""

    n_prompts: int
    n_valid: int
    drops: dict[str, int]
    judged_by: str | None  # None: nobody
    win_rate: Estimate | None = None  # of the strong model over the weak one, on valid pairs
    strong_score: Estimate | None = None
    weak_score: Estimate | None = None
    judged: JudgedPairs | None = None  # where a judge compared, and no code scored
    n_shown: int = 0  # valid pairs that the judge wrote its rubric from; it was asked about the others
    doubt: str = ""  # why the judge is not known to be right
    tried: bool = True  # the judge was, before it looked at these

    @property
    def separates(self) -> bool:
        """Whether to go on without asking: the win rate's interval lies above a half; unjudged, a pair is left."""
        if self.judged_by is None:
            return self.n_valid > 0
        return self.win_rate is not None and self.win_rate.low is not None and self.win_rate.low > 0.5

    def text(self) -> str:
        valid = f"{self.n_valid} of {self.n_prompts} first prompts gave a valid pair"
        if self.judged_by is None or self.win_rate is None:
            return f"{valid}; unjudged: that the strong model's answers are better is taken on trust"
        if self.judged is not None:
            shown = f"; its rubric was written from {self.n_shown} others" if self.n_shown else ""
            return f"{valid}; {self.judged.text()}{shown}" + (f"; {self.doubt}" if self.doubt else "")
        scores = (
            f" (scores {self.strong_score.text()} and {self.weak_score.text()})"
            if self.strong_score and self.weak_score
            else ""
        )
        return (
            f"{valid}; by {self.judged_by} the strong model wins {self.win_rate.text(' %', scale=100, digits=0)} of "
            f"{self.win_rate.n}{scores}"
        )


def first_pass(
    n_prompts: int,
    drops: Counter[str],
    judged_by: str | None,
    strong: Sequence[float | None],
    weak: Sequence[float | None],
) -> FirstPass:
    """strong, weak: scores on the valid pairs, in the same order; both empty where nobody judges."""
    found = FirstPass(
        n_prompts=n_prompts,
        n_valid=n_prompts - drops.total(),
        drops=dict(drops.most_common()),
        judged_by=judged_by,
    )
    if judged_by is None:
        return found
    ours, theirs = (np.array([np.nan if s is None else s for s in scores], dtype=float) for scores in (strong, weak))
    return found.model_copy(
        update={
            "win_rate": Estimate.of(win_rate(scores_to_outcomes(ours, theirs))),
            "strong_score": Estimate.of(mean_score(ours)),
            "weak_score": Estimate.of(mean_score(theirs)),
        }
    )


def first_pass_judged(
    n_prompts: int, drops: Counter[str], judged: JudgedPairs, *, n_shown: int = 0, doubt: str = "", tried: bool = True
) -> FirstPass:
    """The same by a judge, which compares and gives no scores."""
    return FirstPass(
        n_prompts=n_prompts,
        n_valid=n_prompts - drops.total(),
        drops=dict(drops.most_common()),
        judged_by=judged.judge,
        win_rate=judged.win_rate,
        judged=judged,
        n_shown=n_shown,
        doubt=doubt if tried else NOT_TRIED,
        tried=tried,
    )


class PairModelUse(BaseModel):
    """What one of the two models was bought for."""

    model: str
    n_answers: int
    prompt_tokens: int
    completion_tokens: int


class PairsMade(BaseModel):
    """pairs/pairs.json: the pairs as they were made, in numbers."""

    settings: PairGeneration
    n_prompts: int  # asked: at most the training prompts there are
    n_valid: int
    drops: dict[str, int]
    first_pass: FirstPass
    before: Length  # all prompts that both models answered
    after: Length  # the valid pairs
    length_counter: str  # the tokenizer's name, or "estimate"
    strong: PairModelUse
    weak: PairModelUse
    sizes: dict[str, PairSize] = {}  # by base model, in its tokens
    dataset: str = ""  # its full name on the platform
    judged: JudgedPairs | None = None  # all that a judge was to confirm, where it filtered
    costs: dict[str, Spent] = {}  # by line of the plan, when the pairs were written
