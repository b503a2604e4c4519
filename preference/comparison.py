"""Phase 5's result: base and candidates on the same held-out prompts, the proposed winner and its headline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from pydantic import BaseModel

from preference.bases import BASE, CHAMPION
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


class ScoredAnswer(BaseModel):
    """One completion and what the evaluator said of it; a score of None is a failure, not a 0."""

    prompt_id: str
    prompt: str  # the last user message, for people
    text: str
    finish_reason: str | None = None
    completion_tokens: int = 0
    score: float | None = None
    reason: str = ""
    left_out: bool = False  # not asked for any more: it cannot catch up


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
    difference: Estimate | None = None  # against the opponent, paired; None for the opponent itself
    win_rate: Estimate | None = None  # share of prompts scored above the opponent, a tie half
    own_base: Estimate | None = None  # win rate against its own base, where that is not the opponent
    mean_words: float | None = None
    n_failed: int = 0  # answers that the evaluator could not score
    flags: list[str] = []


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


UNSCORED_CHAMPION = "The champion could not be scored, so that nothing is known to beat it."

Answers = Mapping[str, Sequence[ScoredAnswer]]  # by contestant, the same prompts in the same order


def compare(contestants: Sequence[Contestant], answers: Answers, opponent: str = BASE) -> Comparison:
    """Rank the candidates against the opponent, one of the bases, on the selection half.

    Other bases are ranked among them and never proposed: a candidate that is not better than an untouched model is no
    clear winner.
    """
    by_name = {c.name: c for c in contestants}
    if opponent not in by_name or not by_name[opponent].is_base:
        raise ValueError(f"the opponent {opponent!r} is none of the bases among {sorted(by_name)}")
    others = [c for c in contestants if c.name != opponent]
    scores = {c.name: scores_of(answers[c.name]) for c in others}
    against = scores_of(answers[opponent])
    found = {c.name: [] if c.is_base else flags_of(answers[c.name], answers[c.base]) for c in others}
    champion = CHAMPION if CHAMPION in by_name else None
    if champion:
        found[champion] = []  # it is in service: what it is like is not asked
    choice: Choice = choose(scores, against, found, champion=champion, untouched=[c.name for c in others if c.is_base])
    # who was judged on a part only stands last, whatever that part's mean
    ranking = sorted(choice.ranking, key=lambda name: any(a.left_out for a in answers[name]))
    standings = [_standing(by_name[name], answers, opponent, found[name]) for name in ranking]
    served = next((s for s in standings if s.contestant.name == champion), None)
    unscored = [UNSCORED_CHAMPION] if served and served.score.value is None else []
    return Comparison(
        base=_standing(by_name[opponent], answers, opponent),
        bases=[s for s in standings if s.contestant.is_base],
        champion=served,
        candidates=[s for s in standings if not s.contestant.is_base and s is not served],
        proposed=choice.proposed,
        clear=choice.clear and not unscored,
        reasons=[*unscored, *choice.reasons],
        n_selection=len(answers[opponent]),
    )


def compare_halves(
    contestants: Sequence[Contestant],
    answers: Callable[[Sequence[Contestant], str], Answers],
    *,
    has_confirmation: bool,
    opponent: str = BASE,
) -> Comparison:
    """Rank all on the selection half, and measure the proposed one once on the confirmation half.

    answers(contestants, part) gives theirs on that half, "selection" or "confirmation".
    """
    measured = answers(contestants, "selection")
    comparison = compare(contestants, measured, opponent)
    if comparison.proposed is None:
        return comparison
    proposed = next(c for c in contestants if c.name == comparison.proposed)
    if has_confirmation:
        needed = (opponent, proposed.base, proposed.name, CHAMPION)
        measured = answers([c for c in contestants if c.name in needed], "confirmation")
    shown = headline(proposed, comparison.base.contestant, measured, confirmed=has_confirmation)
    doubt = _champion_doubt(shown)
    return comparison.model_copy(
        update={
            "headline": shown,
            "clear": comparison.clear and not doubt,
            "reasons": [*([doubt] if comparison.clear and doubt else []), *comparison.reasons],
        }
    )


def _champion_doubt(shown: Headline) -> str:
    """What was seen on the prompts of the headline against being better than the champion; "" for nothing."""
    if shown.champion is None or (shown.over_champion and (shown.over_champion.value or 0) > 0):
        return ""
    by = shown.over_champion.text(signed=True) if shown.over_champion else "unknown"
    return f"{shown.candidate} does not beat the champion on the prompts of the headline: {by}."


def beats_champion(comparison: Comparison, candidate: str) -> bool:
    """Whether a candidate scores above the champion on the prompts that choose; true where there is no champion."""
    if comparison.champion is None:
        return True
    ours = next(s.score.value for s in comparison.candidates if s.contestant.name == candidate)
    theirs = comparison.champion.score.value
    return ours is not None and theirs is not None and ours > theirs


def headline(proposed: Contestant, opponent: Contestant, answers: Answers, *, confirmed: bool) -> Headline:
    """The one number of the report, with its interval."""
    ours, theirs = scores_of(answers[proposed.name]), scores_of(answers[opponent.name])
    return Headline(
        candidate=proposed.name,
        confirmed=confirmed,
        base=Estimate.of(mean_score(theirs)),
        tuned=Estimate.of(mean_score(ours)),
        difference=Estimate.of(paired_difference(ours, theirs)),
        win_rate=Estimate.of(win_rate(scores_to_outcomes(ours, theirs))),
        opponent="" if proposed.base == opponent.name else f"{opponent.name} ({opponent.label})",
        own_base=_own_base(proposed, opponent.name, answers),
        champion=Estimate.of(mean_score(scores_of(answers[CHAMPION]))) if CHAMPION in answers else None,
        over_champion=Estimate.of(paired_difference(ours, scores_of(answers[CHAMPION])))
        if CHAMPION in answers
        else None,
    )


def _own_base(contestant: Contestant, opponent: str, answers: Answers) -> Estimate | None:
    if contestant.is_base or contestant.base == opponent:
        return None
    ours, theirs = scores_of(answers[contestant.name]), scores_of(answers[contestant.base])
    return Estimate.of(win_rate(scores_to_outcomes(ours, theirs)))


def flags_of(answers: Sequence[ScoredAnswer], base: Sequence[ScoredAnswer]) -> list[str]:
    """What blocks a promotion whatever the score: collapsed, empty or unchanged answers.

    Length is not held against it: that is a bias of judges, and an evaluator's code says what is wanted.
    """
    asked = [(a.text, b.text) for a, b in zip(answers, base, strict=False) if not a.left_out]
    found = flags([ours for ours, _ in asked], opponent_completions=[theirs for _, theirs in asked])
    return found + [a.reason for a in answers if a.left_out][:1]


def comparison_markdown(comparison: Comparison) -> str:
    """The table that the comparison gate shows, with the proposal and its reasons."""
    several = bool(comparison.bases)
    whom = comparison.base.contestant.name
    own_title, own_rule = (" against its own base, % |", " --- |") if several else ("", "")
    lines = [
        f"Measured on {comparison.n_selection} held-out prompts that no candidate was trained on; "
        "95 % intervals in brackets.",
        "",
        f"| | candidate | score | against {whom} | win rate, % |{own_title} words | flags |",
        f"| --- | --- | --- | --- | --- |{own_rule} ---: | --- |",
    ]
    served = [comparison.champion] if comparison.champion else []
    for standing in [*comparison.candidates, *served, *comparison.bases, comparison.base]:
        mark = "**→**" if standing.contestant.name == comparison.proposed else ""
        difference = standing.difference.text(signed=True) if standing.difference else "–"
        rate = standing.win_rate.text(scale=100, digits=0) if standing.win_rate else "–"
        own = f" {standing.own_base.text(scale=100, digits=0) if standing.own_base else '–'} |"
        words = "unknown" if standing.mean_words is None else f"{standing.mean_words:.0f}"
        failed = f"; {standing.n_failed} not scored" if standing.n_failed else ""
        lines.append(
            f"| {mark} | {standing.contestant.name}: {standing.contestant.label} | {standing.score.text()}{failed} "
            f"| {difference} | {rate} |{own if several else ''} {words} | {'; '.join(standing.flags) or '–'} |"
        )
    verdict = (
        f"**Proposed: {comparison.proposed}**, a clear winner."
        if comparison.clear
        else f"**No clear winner.** The best is {comparison.proposed or 'none'}."
    )
    lines += ["", verdict, *(f"- {reason}" for reason in comparison.reasons), ""]
    if comparison.headline is not None:
        lines += [headline_text(comparison.headline), ""]
    if comparison.target:
        lines += [comparison.target, ""]
    return "\n".join(lines)


def headline_text(shown: Headline) -> str:
    """Base against tuned, with the interval, and on which prompts."""
    where = "confirmation prompts, which did not choose it" if shown.confirmed else "prompts that also chose it"
    own = shown.own_base.text(" %", scale=100, digits=0) if shown.own_base else ""
    champion = shown.over_champion.text(signed=True) if shown.over_champion else ""
    return (
        f"{shown.candidate} scores {shown.tuned.text()}, {shown.opponent or 'its base'} {shown.base.text()}: "
        f"{shown.difference.text(signed=True)}, win rate {shown.win_rate.text(' %', scale=100, digits=0)}"
        f"{f' (against its own base {own})' if own else ''}"
        f"{f', against the champion {champion}' if champion else ''}, on {shown.difference.n} {where}."
    )


def _standing(
    contestant: Contestant,
    answers: Answers,
    opponent: str,
    flagged: Sequence[str] = (),
) -> Standing:
    own, alone = answers[contestant.name], contestant.name == opponent
    scores, against = scores_of(own), scores_of(answers[opponent])
    words = [len(a.text.split()) for a in own if not a.left_out]
    return Standing(
        contestant=contestant,
        score=Estimate.of(mean_score(scores)),
        difference=None if alone else Estimate.of(paired_difference(scores, against)),
        win_rate=None if alone else Estimate.of(win_rate(scores_to_outcomes(scores, against))),
        own_base=_own_base(contestant, opponent, answers),
        mean_words=sum(words) / len(words) if words else None,
        n_failed=sum(a.score is None and not a.left_out for a in own),
        flags=list(flagged),
    )


def scores_of(answers: Sequence[ScoredAnswer]) -> list[float]:
    """NaN where there is no score."""
    return [math.nan if a.score is None else a.score for a in answers]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
