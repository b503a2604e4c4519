"""Phase 5's result: base and candidates on the same held-out prompts, the proposed winner and its headline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from pydantic import BaseModel

from preference.judging import Choice, choose, flags
from preference.stats import (
    Difference,
    MeanScore,
    WinRate,
    mean_score,
    paired_difference,
    scores_to_outcomes,
    win_rate,
)

BASE = "base"


class ScoredAnswer(BaseModel):
    """One completion and what the evaluator said of it; a score of None is a failure, not a 0."""

    prompt_id: str
    prompt: str  # the last user message, for people
    text: str
    finish_reason: str | None = None
    completion_tokens: int = 0
    score: float | None = None
    reason: str = ""


class Contestant(BaseModel):
    """A model that answers the held-out prompts: the base, or a trained trial."""

    name: str  # base, t1, t2, ...
    label: str
    model: str  # full name


class Estimate(BaseModel):
    """A number with its 95 % interval; None is unknown."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    n_unread: int = 0
    p_value: float | None = None  # two-sided, where it is a difference

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
    difference: Estimate | None = None  # candidate minus base, paired; None for the base itself
    win_rate: Estimate | None = None  # share of prompts scored above the base, a tie half
    mean_words: float | None = None
    n_failed: int = 0  # answers that the evaluator could not score
    flags: list[str] = []


class Headline(BaseModel):
    """The proposed winner against its base, on prompts that did not choose it where there are enough."""

    candidate: str
    confirmed: bool  # measured on the confirmation half
    base: Estimate
    tuned: Estimate
    difference: Estimate
    win_rate: Estimate


class Comparison(BaseModel):
    base: Standing
    candidates: list[Standing]  # best first
    proposed: str | None
    clear: bool
    reasons: list[str]
    n_selection: int
    headline: Headline | None = None


Answers = Mapping[str, Sequence[ScoredAnswer]]  # by contestant, the same prompts in the same order


def compare(contestants: Sequence[Contestant], answers: Answers) -> Comparison:
    """Rank the candidates against the base on the selection half. The first contestant is the base."""
    base, *candidates = contestants
    if base.name != BASE:
        raise ValueError(f"the first contestant must be {BASE!r}, not {base.name!r}")
    base_scores = _scores(answers[BASE])
    scores = {c.name: _scores(answers[c.name]) for c in candidates}
    found = {c.name: flags_of(answers[c.name], answers[BASE]) for c in candidates}
    choice: Choice = choose(scores, base_scores, found)
    by_name = {c.name: c for c in candidates}
    return Comparison(
        base=_standing(base, answers[BASE]),
        candidates=[_standing(by_name[name], answers[name], base_scores, found[name]) for name in choice.ranking],
        proposed=choice.proposed,
        clear=choice.clear,
        reasons=list(choice.reasons),
        n_selection=len(answers[BASE]),
    )


def compare_halves(
    contestants: Sequence[Contestant],
    answers: Callable[[Sequence[Contestant], str], Answers],
    *,
    has_confirmation: bool,
) -> Comparison:
    """Rank all on the selection half, and measure the proposed one once on the confirmation half.

    answers(contestants, part) gives theirs on that half, "selection" or "confirmation".
    """
    measured = answers(contestants, "selection")
    comparison = compare(contestants, measured)
    if comparison.proposed is None:
        return comparison
    if has_confirmation:
        measured = answers([c for c in contestants if c.name in (BASE, comparison.proposed)], "confirmation")
    shown = headline(
        comparison.proposed,
        measured[comparison.proposed],
        measured[BASE],
        confirmed=has_confirmation,
    )
    return comparison.model_copy(update={"headline": shown})


def headline(
    candidate: str, tuned: Sequence[ScoredAnswer], base: Sequence[ScoredAnswer], *, confirmed: bool
) -> Headline:
    """The one number of the report, with its interval."""
    ours, theirs = _scores(tuned), _scores(base)
    return Headline(
        candidate=candidate,
        confirmed=confirmed,
        base=Estimate.of(mean_score(theirs)),
        tuned=Estimate.of(mean_score(ours)),
        difference=Estimate.of(paired_difference(ours, theirs)),
        win_rate=Estimate.of(win_rate(scores_to_outcomes(ours, theirs))),
    )


def flags_of(answers: Sequence[ScoredAnswer], base: Sequence[ScoredAnswer]) -> list[str]:
    """What blocks a promotion whatever the score: collapsed, empty or unchanged answers.

    Length is not held against it: that is a bias of judges, and an evaluator's code says what is wanted.
    """
    return flags([a.text for a in answers], opponent_completions=[a.text for a in base])


def comparison_markdown(comparison: Comparison) -> str:
    """The table that the comparison gate shows, with the proposal and its reasons."""
    lines = [
        f"Measured on {comparison.n_selection} held-out prompts that no candidate was trained on; "
        "95 % intervals in brackets.",
        "",
        "| | candidate | score | against base | win rate, % | words | flags |",
        "| --- | --- | --- | --- | --- | ---: | --- |",
    ]
    for standing in [*comparison.candidates, comparison.base]:
        mark = "**→**" if standing.contestant.name == comparison.proposed else ""
        difference = standing.difference.text(signed=True) if standing.difference else "–"
        rate = standing.win_rate.text(scale=100, digits=0) if standing.win_rate else "–"
        words = "unknown" if standing.mean_words is None else f"{standing.mean_words:.0f}"
        failed = f"; {standing.n_failed} not scored" if standing.n_failed else ""
        lines.append(
            f"| {mark} | {standing.contestant.name}: {standing.contestant.label} | {standing.score.text()}{failed} "
            f"| {difference} | {rate} | {words} | {'; '.join(standing.flags) or '–'} |"
        )
    verdict = (
        f"**Proposed: {comparison.proposed}**, a clear winner."
        if comparison.clear
        else f"**No clear winner.** The best is {comparison.proposed or 'none'}."
    )
    lines += ["", verdict, *(f"- {reason}" for reason in comparison.reasons), ""]
    if comparison.headline is not None:
        lines += [headline_text(comparison.headline), ""]
    return "\n".join(lines)


def headline_text(shown: Headline) -> str:
    """Base against tuned, with the interval, and on which prompts."""
    where = "confirmation prompts, which did not choose it" if shown.confirmed else "prompts that also chose it"
    return (
        f"{shown.candidate} scores {shown.tuned.text()}, its base {shown.base.text()}: "
        f"{shown.difference.text(signed=True)}, win rate {shown.win_rate.text(' %', scale=100, digits=0)}, "
        f"on {shown.difference.n} {where}."
    )


def _standing(
    contestant: Contestant,
    answers: Sequence[ScoredAnswer],
    base_scores: Sequence[float] | None = None,
    flagged: Sequence[str] = (),
) -> Standing:
    scores = _scores(answers)
    words = [len(a.text.split()) for a in answers]
    return Standing(
        contestant=contestant,
        score=Estimate.of(mean_score(scores)),
        difference=None if base_scores is None else Estimate.of(paired_difference(scores, base_scores)),
        win_rate=None if base_scores is None else Estimate.of(win_rate(scores_to_outcomes(scores, base_scores))),
        mean_words=sum(words) / len(words) if words else None,
        n_failed=sum(a.score is None for a in answers),
        flags=list(flagged),
    )


def _scores(answers: Sequence[ScoredAnswer]) -> list[float]:
    return [math.nan if a.score is None else a.score for a in answers]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
