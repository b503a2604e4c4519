"""What would be worth trying next, from what a run has shown. Rules of thumb, each with what it was seen in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from preference.power import required_prompts
from preference.standings import Comparison, Standing
from preference.trials import Trial

MOST_PROMPTS = 2000  # more than that is no advice


def worth_trying(comparison: Comparison, trials: Sequence[Trial]) -> list[str]:
    """Sentences, the most useful first; none where nothing suggests itself."""
    by_name = {trial.name: trial for trial in trials}
    standings = [s for s in comparison.candidates if s.contestant.name in by_name]
    if not standings:
        return []
    found = [
        _nothing_learned(standings),
        _edge(comparison, standings, by_name, "learning rate", lambda t: t.learning_rate, 3.0),
        _edge(comparison, standings, by_name, "beta", lambda t: t.beta, 3.0, most=0.5),
        _more_prompts(comparison),
    ]
    return [text for text in found if text]


def _nothing_learned(standings: Sequence[Standing]) -> str | None:
    """No candidate is known to differ from the base, for better or worse."""
    if any(_differs(s) or s.flags for s in standings):
        return None
    return (
        "No candidate differs from its base on these prompts: try a higher learning rate or more epochs, and look "
        "whether the chosen answers of the data are what the evaluation asks for."
    )


def _differs(standing: Standing) -> bool:
    found = standing.difference
    if found is None or found.low is None or found.high is None:
        return False
    return found.low > 0 or found.high < 0


def _edge(
    comparison: Comparison,
    standings: Sequence[Standing],
    trials: Mapping[str, Trial],
    what: str,
    value: Callable[[Trial], float | None],
    factor: float,
    most: float = float("inf"),
) -> str | None:
    """The proposed one has the highest or the lowest value that was tried: the best one may lie beyond."""
    proposed = next((s for s in standings if s.contestant.name == comparison.proposed), None)
    if proposed is None or not _differs(proposed):
        return None
    tried = sorted({v for s in standings if (v := value(trials[s.contestant.name])) is not None})
    best = value(trials[proposed.contestant.name])
    if best is None or len(tried) < 2 or best not in (tried[0], tried[-1]):
        return None
    side, beyond = ("lowest", best / factor) if best == tried[0] else ("highest", best * factor)
    if beyond >= most:
        return None
    return f"{proposed.contestant.name} has the {side} {what} that was tried, {best:g}: try {beyond:.2g} as well."


def _more_prompts(comparison: Comparison) -> str | None:
    """How many held-out prompts would settle what this run could not."""
    shown = comparison.headline
    if shown is None or shown.win_rate.value is None or shown.win_rate.low is None:
        return None
    rate = shown.win_rate.value
    if shown.win_rate.low > 0.5 or rate <= 0.5:
        return None
    wanted = required_prompts(rate)
    if wanted > MOST_PROMPTS or wanted <= shown.win_rate.n:
        return None
    return (
        f"A true win rate of {rate:.0%} takes about {wanted} prompts to be told from a tie (four times out of five); "
        f"the headline has {shown.win_rate.n}. With the two halves that is {2 * wanted} held-out prompts."
    )
