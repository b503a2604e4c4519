"""What a comparison is made of: scored answers, contestants, and what each came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from preference.bases import BASE
from preference.stats import Difference, MeanScore, WinRate


class ScoredAnswer(BaseModel):
    """One completion and what was said of it; a score of None is a failure, not a 0.

    By an evaluator: its score. By a judge: 1 won, 0.5 tied, 0 lost against the opponent's completion, whose own score
    is 0.5, a tie with itself.
    """

    prompt_id: str
    prompt: str  # the last user message, for people
    text: str
    finish_reason: str | None = None
    completion_tokens: int = 0
    score: float | None = None
    reason: str = ""
    left_out: bool = False  # not asked for any more: it cannot catch up
    verdicts: list[str] = []  # a judge's: A, B, tie or unread, with this completion shown first, then second
    own_base_score: float | None = None  # likewise against its own base's completion, where that is not the opponent
    own_base_verdicts: list[str] = []


class Contestant(BaseModel):
    """A model that answers the held-out prompts: an untouched base, or a trained trial."""

    name: str  # base (b1, b2, ... where there are several), t1, t2, ...
    label: str
    model: str  # full name
    base: str = BASE  # the name of the base that it was tuned from; a base's own name

    @property
    def is_base(self) -> bool:
        return self.name == self.base


class Estimate(BaseModel):
    """A number with its 95 % interval; None is unknown."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    n_unread: int = 0
    p_value: float | None = None  # two-sided, where it is a difference
    warning: str | None = None  # why the number may mislead

    @classmethod
    def of(cls, result: MeanScore | WinRate | Difference) -> Estimate:
        value = result.rate if isinstance(result, WinRate) else result.mean
        return cls(
            value=_known(value),
            low=_known(result.low),
            high=_known(result.high),
            n=result.n,
            n_unread=result.n_unread,
            p_value=_known(result.p_value) if isinstance(result, Difference) else None,
            warning=result.warning if isinstance(result, WinRate) else None,
        )

    def text(self, unit: str = "", *, signed: bool = False, scale: float = 1.0, digits: int = 2) -> str:
        """0.92 [0.85, 0.97], in the scale asked for; "unknown" where nothing was read."""
        if self.value is None or self.low is None or self.high is None:
            return "unknown"
        spec = f"{'+' if signed else ''}.{digits}f"
        value, low, high = (format(x * scale, spec) for x in (self.value, self.low, self.high))
        return f"{value}{unit} [{low}, {high}]"


class Standing(BaseModel):
    """One row of the comparison table."""

    contestant: Contestant
    score: Estimate
    difference: Estimate | None = None  # against the opponent, paired; None for the opponent itself
    win_rate: Estimate | None = None  # share of prompts scored above the opponent, a tie half
    own_base: Estimate | None = None  # win rate against its own base, where that is not the opponent
    mean_words: float | None = None
    n_failed: int = 0  # answers that could not be scored
    flags: list[str] = []
    blocked: list[str] = []  # those of the flags that no human overrules; that it was left out is none
    length_controlled: Estimate | None = None  # a judge's win rate against the opponent at equal length
    n_won_tied_lost: tuple[int, int, int] | None = None  # by a judge, over both orders
    n_flipped: int = 0  # of the ties, those where the verdict changed with the order


class Headline(BaseModel):
    """The proposed winner against its opponent, on prompts that did not choose it where there are enough."""

    candidate: str
    confirmed: bool  # measured on the confirmation half
    base: Estimate  # the opponent
    tuned: Estimate
    difference: Estimate
    win_rate: Estimate
    opponent: str = ""  # what it is called, where it is not the candidate's own base
    own_base: Estimate | None = None  # win rate against its own base, where that is not the opponent
    champion: Estimate | None = None  # the champion's score, where there is one
    over_champion: Estimate | None = None  # candidate minus champion, paired
    judge: str = ""  # whose verdicts the win rates are; "": an evaluator's scores
    length_controlled: Estimate | None = None  # a judge's win rate at equal length


class Comparison(BaseModel):
    base: Standing  # whom all candidates play: their base, or the common opponent where there are several
    bases: list[Standing] = []  # the other untouched bases, best first
    champion: Standing | None = None  # the model in service, which a winner must beat
    candidates: list[Standing]  # best first
    proposed: str | None
    clear: bool
    reasons: list[str]
    n_selection: int
    headline: Headline | None = None
    target: str = ""  # whether the request's target is met, in a sentence; "" where it has none
    judge: str = ""  # whose verdicts the scores are; "": an evaluator's


Answers = Mapping[str, Sequence[ScoredAnswer]]  # by contestant, the same prompts in the same order


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
