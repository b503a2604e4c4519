"""What a run is to reach: when a sweep may stop for it, and whether it was met in the end."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike
from pydantic import BaseModel

from preference.comparison import flags_of, scores_of
from preference.judging import cannot_catch_up, target_reached
from preference.settings import PreferenceRequest
from preference.standings import Answers, Comparison, Contestant, Estimate, Headline, ScoredAnswer
from preference.stats import scores_to_outcomes

BLOCK = 16  # held-out prompts between two looks at who can still win


class Target(BaseModel):
    """At least this win rate against the opponent, this mean score, or both."""

    win_rate: float | None = None
    score: float | None = None

    @classmethod
    def of(cls, request: PreferenceRequest) -> Target | None:
        if request.target_win_rate is None and request.target_score is None:
            return None
        return cls(win_rate=request.target_win_rate, score=request.target_score)

    def text(self) -> str:
        parts = [f"a win rate of {100 * self.win_rate:g} %"] if self.win_rate is not None else []
        parts += [f"a score of {self.score:g}"] if self.score is not None else []
        return " and ".join(parts)


class Stopped(BaseModel):
    """stopped.json: why the sweep ended early. It is there before anything is cancelled."""

    candidate: str
    reason: str


def established(target: Target, candidate: Contestant, opponent: str, answers: Answers, n_trials: int) -> bool:
    """Whether the candidate is known to reach the target on the prompts of the selection half.

    Anytime-valid, and corrected for all trials of the sweep, whether or not they come this far. A flagged candidate
    (collapsed, empty, unchanged answers) never does.
    """
    if flags_of(answers[candidate.name], answers[candidate.base]):
        return False
    ours, theirs = scores_of(answers[candidate.name]), scores_of(answers[opponent])
    wanted: list[tuple[ArrayLike, float | None]] = [
        (scores_to_outcomes(ours, theirs), target.win_rate),
        (ours, target.score),
    ]
    return all(target_reached(scores, least, n_candidates=n_trials) for scores, least in wanted if least is not None)


def hopeless(answers: Answers, contestants: Sequence[Contestant], n_trials: int) -> dict[str, str]:
    """The candidates that cannot catch up with the leader any more, with its name.

    The leader is the unflagged candidate with the highest mean so far. Paired on the prompts that both were judged
    on; anytime-valid, corrected for all pairs of the sweep's trials.
    """
    scores = {c.name: scores_of(answers[c.name]) for c in contestants}
    fit = [c.name for c in contestants if not flags_of(answers[c.name], answers[c.base])]
    means = {name: _mean(scores[name]) for name in fit}
    if not means:
        return {}
    leader = max(means, key=lambda name: means[name])
    found, n_pairs = {}, max(1, n_trials * (n_trials - 1) // 2)
    for name, ours in scores.items():
        n = min(len(ours), len(scores[leader]))
        if name != leader and cannot_catch_up(ours[:n], scores[leader][:n], n_candidates=n_pairs):
            found[name] = leader
    return found


def _mean(scores: Sequence[float]) -> float:
    read = [x for x in scores if x == x]
    return sum(read) / len(read) if read else -1.0


def left_out(answers: Sequence[ScoredAnswer], prompts: Sequence[tuple[str, str]], leader: str) -> list[ScoredAnswer]:
    """The answers so far, and for the other prompts (id, text) a line that says why there is none."""
    reason = f"not judged further after {len(answers)} of {len(prompts)} prompts: it cannot catch up with {leader}"
    missing = prompts[len(answers) :]
    return [*answers, *(ScoredAnswer(prompt_id=i, prompt=p, text="", reason=reason, left_out=True) for i, p in missing)]


def with_target(comparison: Comparison, request: PreferenceRequest) -> Comparison:
    """The comparison, with a sentence on the request's target where it has one."""
    target = Target.of(request)
    return comparison.model_copy(update={"target": verdict(target, comparison.headline)}) if target else comparison


def verdict(target: Target, headline: Headline | None) -> str:
    """Whether the target is met, in a sentence: by the lower bounds of the headline."""
    if headline is None:
        return f"**Target ({target.text()}): not met.** There is no candidate to measure."
    wanted = [(headline.win_rate, target.win_rate), (headline.tuned, target.score)]
    told = [_side(found, least) for found, least in wanted if least is not None]
    word = "not met" if "not met" in told else "not established" if "not established" in told else "met"
    how = {
        "met": f"{headline.candidate}'s lower bound is above it",
        "not met": f"{headline.candidate}'s upper bound is below it",
        "not established": f"it lies within {headline.candidate}'s 95 % interval",
    }
    where = "" if headline.confirmed else "; measured on the prompts that also chose it, which flatters"
    return f"**Target ({target.text()}): {word}.** On the headline's prompts {how[word]}{where}."


def _side(found: Estimate, least: float) -> str:
    if found.low is None or found.high is None:
        return "not established"
    if found.low >= least:
        return "met"
    return "not met" if found.high < least else "not established"
