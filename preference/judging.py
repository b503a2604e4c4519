"""Who won, and how sure that is: the rule for a clear winner, and what keeps a winner from being one.

Candidates are compared on the selection half of the held-out prompts. The headline number is not made here:
the best of several looks better than it is, so the proposed one is judged again on the confirmation half.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preference.rates import difference_from_tie, unit_scores
from preference.stats import (
    Difference,
    MeanScore,
    WinRate,
    holm,
    length_controlled_win_rate,
    mean_score,
    paired_difference,
    prompts_until_above,
    scores_to_outcomes,
    win_rate,
)

MAX_UNREAD_SHARE = 0.2  # above it, the prompts that were read may not stand for the others
MAX_EMPTY_SHARE = 0.05
MIN_DISTINCT_SHARE = 0.2  # and under half the opponent's: labels and numbers repeat by nature


@dataclass(frozen=True)
class Standing:
    """One candidate in the ranking. difference: against the opponent's scores, or against a tie at 0.5."""

    name: str
    score: MeanScore
    win_rate: WinRate
    difference: Difference
    p_value: float = float("nan")  # of difference, after Holm's correction
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lead:
    """The proposed candidate over a rival, on the same prompts."""

    over: str
    difference: Difference
    p_value: float  # after Holm's correction


@dataclass(frozen=True)
class Choice:
    """The outcome of a comparison. reasons: sentences that say why the proposed one is clear, or why not."""

    ranking: tuple[str, ...]  # best first
    proposed: str | None  # the best one without a flag
    clear: bool
    reasons: tuple[str, ...]
    standings: tuple[Standing, ...] = ()  # in ranking order
    leads: tuple[Lead, ...] = ()  # over the runner-up first, then over the champion if that is another one

    @property
    def runner_up(self) -> str | None:
        return self.leads[0].over if self.leads else None


def choose(
    candidates: Mapping[str, ArrayLike],
    opponent: ArrayLike | None = None,
    flags: Mapping[str, Sequence[str]] | None = None,
    alpha: float = 0.05,
    *,
    champion: str | None = None,
    untouched: Collection[str] = (),
) -> Choice:
    """Rank the candidates by mean score and say whether the best one is a clear winner.

    candidates: (n_prompts,) scores in [0, 1] a name, NaN unread, all on the same prompts in the same order.
    opponent: an evaluator's scores of it; None where the scores are judged against it (0.5 is a tie).
    flags: what blocks a candidate (see `flags`); a flagged one is ranked, but not proposed.
    champion: the name, among candidates, of the model in service; it must be beaten and is not proposed.
    untouched: names, among candidates, of base models other than the opponent: ranked, but not proposed.

    Clear means better, on the same prompts, than the opponent, the runner-up and the champion, at level alpha.
    The first is corrected by Holm over all candidates, since the best of them was picked; the other two among
    themselves. Picking the best two makes their gap smaller, not larger, so that it needs no more (Hung &
    Fithian, arXiv:1610.03944); python -m benchmarks.stats measures it.
    """
    if champion is not None and champion not in candidates:
        raise ValueError(f"the champion {champion!r} is not among the candidates {sorted(candidates)}.")
    scores = {name: unit_scores(given) for name, given in candidates.items()}
    if len({given.size for given in scores.values()}) > 1:
        sizes = {name: given.size for name, given in scores.items()}
        raise ValueError(f"all candidates need the same prompts; found {sizes} of them.")
    blocked = {name: tuple((flags or {}).get(name, ())) for name in scores}
    standings = [_standing(name, scores[name], opponent, blocked[name]) for name in scores]
    standings.sort(key=lambda s: (-np.nan_to_num(s.score.mean, nan=-1.0), s.name))  # equal ones by name
    fit = [s.name for s in standings if not s.flags and s.score.n > 0]
    proposed = next((name for name in fit if name != champion and name not in untouched), None)
    rivals = _rivals(proposed, fit, champion)
    leads = [paired_difference(scores[proposed], scores[rival]) for rival in rivals if proposed]

    against_opponent = holm([s.difference.p_value for s in standings]).tolist()
    ranked = tuple(replace(s, p_value=p) for s, p in zip(standings, against_opponent, strict=True))
    ranking = tuple(s.name for s in ranked)
    if proposed is None:
        return Choice(ranking, None, False, _nobody(ranked), ranked)
    winner = ranked[ranking.index(proposed)]
    against_rivals = holm([lead.p_value for lead in leads]).tolist()
    compared = tuple(Lead(*lead) for lead in zip(rivals, leads, against_rivals, strict=True))
    doubts = _doubts(winner, alpha) + _lead_doubts(proposed, compared, alpha)
    return Choice(ranking, proposed, not doubts, tuple(doubts) or (_praise(winner, rivals),), ranked, compared)


def _standing(name: str, scores: NDArray[np.float64], opponent: ArrayLike | None, flags: tuple[str, ...]) -> Standing:
    if opponent is not None:
        rate, against = win_rate(scores_to_outcomes(scores, opponent)), paired_difference(scores, opponent)
        return Standing(name, mean_score(scores), rate, against, flags=flags)
    rate, against = win_rate(scores), difference_from_tie(scores)
    score = MeanScore(rate.rate, rate.low, rate.high, rate.standard_error, rate.n, rate.n_unread)
    return Standing(name, score, rate, against, flags=flags)


def _rivals(proposed: str | None, fit: Sequence[str], champion: str | None) -> list[str]:
    """The runner-up first, then the champion if it is another one."""
    others = [name for name in fit if name != proposed]
    rivals = others[:1]
    if champion in others[1:]:
        rivals.append(str(champion))
    return rivals


def _doubts(standing: Standing, alpha: float) -> list[str]:
    name, rate = standing.name, standing.win_rate
    doubts = []
    if not (standing.p_value < alpha and standing.difference.mean > 0):
        doubts.append(
            f"{name} is not clearly better than its opponent: win rate {rate.rate:.1%} "
            f"[{rate.low:.1%}, {rate.high:.1%}], mean difference {standing.difference.mean:+.3f} "
            f"[{standing.difference.low:+.3f}, {standing.difference.high:+.3f}], "
            f"corrected p = {standing.p_value:.3f}."
        )
    elif rate.rate <= 0.5:
        doubts.append(f"{name} has the higher mean score, but wins on {rate.rate:.1%} of the prompts only.")
    n_prompts = rate.n + rate.n_unread
    if rate.n_unread > MAX_UNREAD_SHARE * n_prompts:
        doubts.append(f"{rate.n_unread} of {n_prompts} prompts of {name} are unread.")
    return doubts


def _lead_doubts(proposed: str, leads: Sequence[Lead], alpha: float) -> list[str]:
    return [
        f"{proposed} is not clearly better than {lead.over}: {lead.difference.mean:+.3f} "
        f"[{lead.difference.low:+.3f}, {lead.difference.high:+.3f}] on the same prompts, "
        f"corrected p = {lead.p_value:.3f}."
        for lead in leads
        if not (lead.p_value < alpha and lead.difference.mean > 0)
    ]


def _nobody(standings: Sequence[Standing]) -> tuple[str, ...]:
    reasons = [f"{s.name}: {flag}" for s in standings for flag in s.flags]
    reasons += [f"{s.name}: no prompt could be scored." for s in standings if s.score.n == 0]
    return tuple(reasons) or ("there is no candidate.",)


def _praise(standing: Standing, rivals: Sequence[str]) -> str:
    rate = standing.win_rate
    beaten = " and ".join(["its opponent", *rivals])
    return (
        f"{standing.name} is clearly better than {beaten}: win rate {rate.rate:.1%} "
        f"[{rate.low:.1%}, {rate.high:.1%}] on {rate.n} prompts."
    )


def flags(
    completions: Sequence[str],
    *,
    opponent_completions: Sequence[str] | None = None,
    scores: ArrayLike | None = None,
) -> list[str]:
    """What keeps a candidate from being promoted, in sentences; empty where nothing does.

    completions: one a prompt. opponent_completions: on the same prompts. scores: (n_prompts,), 1 won, 0.5 tied,
    0 lost against them, NaN unread (for an evaluator, from scores_to_outcomes).
    Collapsed: one answer to all prompts, or few distinct ones where the opponent's differ (one constant answer
    can win 86 % of AlpacaEval 2, arXiv:2410.07137). Empty: more than 5 %. Unchanged: all answers are the
    opponent's own. Won by length alone: see _length_alone.
    """
    found = [_collapsed(completions, opponent_completions), _empty(completions)]
    if len(completions) > 1 and opponent_completions and list(completions) == list(opponent_completions):
        found.append(f"all {len(completions)} answers are word for word the opponent's: was the tuned model asked?")
    if scores is not None and opponent_completions is not None:
        found.append(_length_alone(completions, opponent_completions, scores))
    return [flag for flag in found if flag]


def _collapsed(completions: Sequence[str], opponent_completions: Sequence[str] | None) -> str | None:
    n_prompts, n_distinct = len(completions), _n_distinct(completions)
    if n_prompts > 1 and n_distinct == 1:
        return f"one and the same answer to all {n_prompts} prompts"
    bound = MIN_DISTINCT_SHARE * n_prompts
    if opponent_completions:
        bound = min(bound, _n_distinct(opponent_completions) / len(opponent_completions) * n_prompts / 2)
    if n_distinct < bound:
        return f"only {n_distinct} distinct answers to {n_prompts} prompts"
    return None


def _n_distinct(completions: Sequence[str]) -> int:
    """Case and white space do not make an answer another one."""
    return len({" ".join(text.casefold().split()) for text in completions})


def _empty(completions: Sequence[str]) -> str | None:
    n_empty = sum(not text.strip() for text in completions)
    if n_empty > MAX_EMPTY_SHARE * len(completions):
        return f"{n_empty} of {len(completions)} answers are empty"
    return None


def _length_alone(completions: Sequence[str], opponent_completions: Sequence[str], scores: ArrayLike) -> str | None:
    """A win that at equal length may be none, and keeps less than half of its lead over a tie."""
    raw = win_rate(scores)
    lengths = [[len(text) for text in texts] for texts in (completions, opponent_completions)]
    equal = length_controlled_win_rate(scores, *lengths)
    if raw.low > 0.5 and equal.low <= 0.5 and equal.rate - 0.5 < (raw.rate - 0.5) / 2:
        return (
            f"the win may be length alone: {raw.rate:.1%} as judged, "
            f"{equal.rate:.1%} [{equal.low:.1%}, {equal.high:.1%}] at equal length"
        )
    return None


def target_reached(scores: ArrayLike, target: float, *, n_candidates: int = 1, alpha: float = 0.05) -> bool:
    """Whether the mean score (or win rate) is known to be above target, however often this is asked.

    scores: (n_prompts,) in the order judged, NaN unread. Corrected for n_candidates, all trials of the sweep,
    those that never came this far included. Anytime-valid: see preference.sequential.
    """
    return prompts_until_above(scores, target, alpha=alpha / n_candidates) is not None


def cannot_catch_up(candidate: ArrayLike, leader: ArrayLike, *, n_candidates: int = 2, alpha: float = 0.05) -> bool:
    """Whether the candidate is known to score below the leader on the same prompts, however often this is asked.

    Both (n_prompts,) in [0, 1], in the order judged; a prompt counts where both are read.
    """
    lead = (1 + unit_scores(leader) - unit_scores(candidate)) / 2  # in [0, 1], 0.5 is a tie
    return prompts_until_above(lead, 0.5, alpha=alpha / n_candidates) is not None
