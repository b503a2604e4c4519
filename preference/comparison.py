"""Phase 5's result: base and candidates on the same held-out prompts, the proposed winner and its headline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from preference.bases import BASE, CHAMPION
from preference.judging import Choice, choose, flags
from preference.standings import Answers, Comparison, Contestant, Estimate, Headline, ScoredAnswer, Standing
from preference.stats import length_controlled_win_rate, mean_score, paired_difference, scores_to_outcomes, win_rate


@dataclass(frozen=True)
class JudgedBy:
    """The judge whose verdicts are compared. doubt: why it is below the line; then nobody is a clear winner."""

    name: str
    doubt: str = ""


UNSCORED_CHAMPION = "The champion could not be scored, so that nothing is known to beat it."


def compare(
    contestants: Sequence[Contestant], answers: Answers, opponent: str = BASE, judge: JudgedBy | None = None
) -> Comparison:
    """Rank the candidates against the opponent, one of the bases, on the selection half.

    Other bases are ranked among them and never proposed: a candidate that is not better than an untouched model is no
    clear winner. judge: whose verdicts the scores are, None for an evaluator's.
    """
    by_name = {c.name: c for c in contestants}
    if opponent not in by_name or not by_name[opponent].is_base:
        raise ValueError(f"the opponent {opponent!r} is none of the bases among {sorted(by_name)}")
    others = [c for c in contestants if c.name != opponent]
    scores = {c.name: scores_of(answers[c.name]) for c in others}
    against = scores_of(answers[opponent])
    found = {c.name: [] if c.is_base else flags_of(answers[c.name], answers[c.base]) for c in others}
    if judge is not None:
        for c in (c for c in others if not c.is_base):
            found[c.name] += _length_flags(answers[c.name], answers[opponent])
    champion = CHAMPION if CHAMPION in by_name else None
    if champion:
        found[champion] = []  # it is in service: what it is like is not asked
    choice: Choice = choose(scores, against, found, champion=champion, untouched=[c.name for c in others if c.is_base])
    # who was judged on a part only stands last, whatever that part's mean
    ranking = sorted(choice.ranking, key=lambda name: any(a.left_out for a in answers[name]))
    standings = [_standing(by_name[name], answers, opponent, found[name], judge) for name in ranking]
    served = next((s for s in standings if s.contestant.name == champion), None)
    doubts = [UNSCORED_CHAMPION] if served and served.score.value is None else []
    doubts += [judge.doubt] if judge and judge.doubt else []
    return Comparison(
        base=_standing(by_name[opponent], answers, opponent),
        bases=[s for s in standings if s.contestant.is_base],
        champion=served,
        candidates=[s for s in standings if not s.contestant.is_base and s is not served],
        proposed=choice.proposed,
        clear=choice.clear and not doubts,
        reasons=[*doubts, *choice.reasons],
        n_selection=len(answers[opponent]),
        judge=judge.name if judge else "",
    )


def compare_halves(
    contestants: Sequence[Contestant],
    answers: Callable[[Sequence[Contestant], str], Answers],
    *,
    has_confirmation: bool,
    opponent: str = BASE,
    judge: JudgedBy | None = None,
) -> Comparison:
    """Rank all on the selection half, and measure the proposed one once on the confirmation half.

    answers(contestants, part) gives theirs on that half, "selection" or "confirmation". judge: see compare.
    """
    measured = answers(contestants, "selection")
    comparison = compare(contestants, measured, opponent, judge)
    if comparison.proposed is None:
        return comparison
    proposed = next(c for c in contestants if c.name == comparison.proposed)
    if has_confirmation:
        needed = (opponent, proposed.base, proposed.name, CHAMPION)
        measured = answers([c for c in contestants if c.name in needed], "confirmation")
    shown = headline(proposed, comparison.base.contestant, measured, confirmed=has_confirmation, judge=judge)
    doubts = [doubt for doubt in (_unconfirmed(shown), _champion_doubt(shown)) if doubt]
    return comparison.model_copy(
        update={
            "headline": shown,
            "clear": comparison.clear and not doubts,
            "reasons": [*(doubts if comparison.clear else []), *comparison.reasons],
        }
    )


def _unconfirmed(shown: Headline) -> str:
    """That what was clear on the prompts that choose is not even there on those that confirm; "" where it is."""
    if not shown.confirmed or (shown.difference.value or 0) > 0:
        return ""
    return f"{shown.candidate} does not beat its opponent on the prompts that confirm: " + shown.difference.text(
        signed=True
    )


def _champion_doubt(shown: Headline) -> str:
    """What was seen on the prompts of the headline against being better than the champion; "" for nothing."""
    if shown.champion is None or (shown.over_champion and (shown.over_champion.value or 0) > 0):
        return ""
    by = shown.over_champion.text(signed=True) if shown.over_champion else "unknown"
    return f"{shown.candidate} does not beat the champion on the prompts of the headline: {by}."


def why_not_promoted(comparison: Comparison, candidate: str) -> str:
    """Why a candidate may not be deployed even where a human names it; "" where it may be."""
    found = next(s for s in comparison.candidates if s.contestant.name == candidate)
    if found.blocked:
        return f"{candidate} is flagged ({'; '.join(found.blocked)}), and nothing flagged is promoted"
    if not beats_champion(comparison, candidate):
        return f"{candidate} does not score above the champion, and nothing else is promoted"
    return ""


def beats_champion(comparison: Comparison, candidate: str) -> bool:
    """Whether a candidate scores above the champion on the prompts that choose; true where there is no champion."""
    if comparison.champion is None:
        return True
    ours = next(s.score.value for s in comparison.candidates if s.contestant.name == candidate)
    theirs = comparison.champion.score.value
    return ours is not None and theirs is not None and ours > theirs


def headline(
    proposed: Contestant, opponent: Contestant, answers: Answers, *, confirmed: bool, judge: JudgedBy | None = None
) -> Headline:
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
        own_base=_own_base(proposed, opponent.name, answers, judge),
        judge=judge.name if judge else "",
        length_controlled=_length_controlled(answers[proposed.name], answers[opponent.name]) if judge else None,
        champion=Estimate.of(mean_score(scores_of(answers[CHAMPION]))) if CHAMPION in answers else None,
        over_champion=Estimate.of(paired_difference(ours, scores_of(answers[CHAMPION])))
        if CHAMPION in answers
        else None,
    )


def _own_base(contestant: Contestant, opponent: str, answers: Answers, judge: JudgedBy | None) -> Estimate | None:
    if contestant.is_base or contestant.base == opponent:
        return None
    if judge is not None:
        own = [math.nan if a.own_base_score is None else a.own_base_score for a in answers[contestant.name]]
        return Estimate.of(win_rate(own))
    ours, theirs = scores_of(answers[contestant.name]), scores_of(answers[contestant.base])
    return Estimate.of(win_rate(scores_to_outcomes(ours, theirs)))


def flags_of(answers: Sequence[ScoredAnswer], base: Sequence[ScoredAnswer]) -> list[str]:
    """What blocks a promotion whatever the score: collapsed, empty or unchanged answers.

    Length is not held against it here: that is a bias of judges, and an evaluator's code says what is wanted.
    """
    asked = [(a.text, b.text) for a, b in zip(answers, base, strict=False) if not a.left_out]
    found = flags([ours for ours, _ in asked], opponent_completions=[theirs for _, theirs in asked])
    return found + [a.reason for a in answers if a.left_out][:1]


def _length_flags(answers: Sequence[ScoredAnswer], opponent: Sequence[ScoredAnswer]) -> list[str]:
    """A judge's win by length alone."""
    asked = [(a, b.text) for a, b in zip(answers, opponent, strict=False) if not a.left_out]
    texts, theirs = [a.text for a, _ in asked], [text for _, text in asked]
    without = flags(texts, opponent_completions=theirs)
    found = flags(texts, opponent_completions=theirs, scores=scores_of([a for a, _ in asked]))
    return [flag for flag in found if flag not in without]


def _length_controlled(answers: Sequence[ScoredAnswer], opponent: Sequence[ScoredAnswer]) -> Estimate:
    lengths = [[len(a.text) for a in side] for side in (answers, opponent)]
    return Estimate.of(length_controlled_win_rate(scores_of(answers), *lengths))


def _standing(
    contestant: Contestant,
    answers: Answers,
    opponent: str,
    flagged: Sequence[str] = (),
    judge: JudgedBy | None = None,
) -> Standing:
    own, alone = answers[contestant.name], contestant.name == opponent
    scores, against = scores_of(own), scores_of(answers[opponent])
    words = [len(a.text.split()) for a in own if not a.left_out]
    judged = judge is not None and not alone
    return Standing(
        contestant=contestant,
        score=Estimate.of(mean_score(scores)),
        difference=None if alone else Estimate.of(paired_difference(scores, against)),
        win_rate=None if alone else Estimate.of(win_rate(scores_to_outcomes(scores, against))),
        own_base=_own_base(contestant, opponent, answers, judge),
        mean_words=sum(words) / len(words) if words else None,
        n_failed=sum(a.score is None and not a.left_out for a in own),
        flags=list(flagged),
        blocked=[flag for flag in flagged if flag not in {a.reason for a in own if a.left_out}],
        length_controlled=_length_controlled(own, answers[opponent]) if judged else None,
        n_won_tied_lost=(scores.count(1.0), scores.count(0.5), scores.count(0.0)) if judged else None,
        n_flipped=sum(a.score == 0.5 and a.verdicts not in ([], ["tie", "tie"]) for a in own),
    )


def scores_of(answers: Sequence[ScoredAnswer]) -> list[float]:
    """NaN where there is no score."""
    return [math.nan if a.score is None else a.score for a in answers]
