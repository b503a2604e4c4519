"""A comparison for people: the table that the gate and the report show, and the headline as a sentence."""

from __future__ import annotations

from preference.standings import Comparison, Estimate, Headline, Standing


def comparison_markdown(comparison: Comparison) -> str:
    """The table that the comparison gate shows, with the proposal and its reasons."""
    verdict = (
        f"**Proposed: {comparison.proposed}**, a clear winner."
        if comparison.clear
        else f"**No clear winner.** The best is {comparison.proposed or 'none'}."
    )
    lines = [
        f"Measured on {comparison.n_selection} held-out prompts that no candidate was trained on; "
        "95 % intervals in brackets.",
        "",
        *(_judged_table(comparison) if comparison.judge else _scored_table(comparison)),
        "",
        verdict,
        *(f"- {reason}" for reason in comparison.reasons),
        "",
    ]
    if comparison.headline is not None:
        lines += [headline_text(comparison.headline), ""]
    if comparison.target:
        lines += [comparison.target, ""]
    return "\n".join(lines)


def _scored_table(comparison: Comparison) -> list[str]:
    several, whom = bool(comparison.bases), comparison.base.contestant.name
    own_title, own_rule = (" against its own base, % |", " --- |") if several else ("", "")
    lines = [
        f"| | candidate | score | against {whom} | win rate, % |{own_title} words | flags |",
        f"| --- | --- | --- | --- | --- |{own_rule} ---: | --- |",
    ]
    for standing in _rows(comparison):
        difference = standing.difference.text(signed=True) if standing.difference else "–"
        failed = f"; {standing.n_failed} not scored" if standing.n_failed else ""
        lines.append(
            f"| {_mark(comparison, standing)} | {standing.contestant.name}: {standing.contestant.label} "
            f"| {standing.score.text()}{failed} | {difference} | {_percent(standing.win_rate)} |"
            f"{f' {_percent(standing.own_base)} |' if several else ''} {_words(standing)} "
            f"| {'; '.join(standing.flags) or '–'} |"
        )
    return lines


def _judged_table(comparison: Comparison) -> list[str]:
    """Win rates over both orders instead of scores; the opponent has none against itself."""
    several, whom = bool(comparison.bases), comparison.base.contestant.name
    own_title, own_rule = (" against its own base, % |", " --- |") if several else ("", "")
    lines = [
        f"Judged by {comparison.judge}, in both orders; a verdict that flips with the order is a tie.",
        "",
        f"| | candidate | win rate against {whom}, % | at equal length, % | won–tied–lost |{own_title} words | flags |",
        f"| --- | --- | --- | --- | --- |{own_rule} ---: | --- |",
    ]
    for standing in _rows(comparison):
        counts = "–".join(map(str, standing.n_won_tied_lost)) if standing.n_won_tied_lost else "–"
        flipped = f", {standing.n_flipped} of the ties flipped" if standing.n_flipped else ""
        unread = f", {standing.n_failed} without a verdict" if standing.n_failed else ""
        lines.append(
            f"| {_mark(comparison, standing)} | {standing.contestant.name}: {standing.contestant.label} "
            f"| {_percent(standing.win_rate)} | {_at_equal_length(standing.length_controlled)} "
            f"| {counts}{flipped}{unread} |{f' {_percent(standing.own_base)} |' if several else ''} "
            f"{_words(standing)} | {'; '.join(standing.flags) or '–'} |"
        )
    return lines


def _rows(comparison: Comparison) -> list[Standing]:
    served = [comparison.champion] if comparison.champion else []
    return [*comparison.candidates, *served, *comparison.bases, comparison.base]


def _mark(comparison: Comparison, standing: Standing) -> str:
    return "**→**" if standing.contestant.name == comparison.proposed else ""


def _words(standing: Standing) -> str:
    return "unknown" if standing.mean_words is None else f"{standing.mean_words:.0f}"


def _percent(rate: Estimate | None) -> str:
    return rate.text(scale=100, digits=0) if rate else "–"


def _at_equal_length(rate: Estimate | None) -> str:
    if rate is None or rate.value is None:
        return "–" if rate is None else f"unknown: {rate.warning or 'nothing was read'}"
    return _percent(rate) + (f" (unstable: {rate.warning})" if rate.warning else "")


def headline_text(shown: Headline) -> str:
    """Base against tuned, with the interval, and on which prompts."""
    where = "confirmation prompts, which did not choose it" if shown.confirmed else "prompts that also chose it"
    if shown.judge:
        return _judged_headline(shown, where)
    champion = shown.over_champion.text(signed=True) if shown.over_champion else ""
    own = shown.own_base.text(" %", scale=100, digits=0) if shown.own_base else ""
    return (
        f"{shown.candidate} scores {shown.tuned.text()}, {shown.opponent or 'its base'} {shown.base.text()}: "
        f"{shown.difference.text(signed=True)}, win rate {shown.win_rate.text(' %', scale=100, digits=0)}"
        f"{f' (against its own base {own})' if own else ''}"
        f"{f', against the champion {champion}' if champion else ''}, on {shown.difference.n} {where}."
    )


def _judged_headline(shown: Headline, where: str) -> str:
    equal = shown.length_controlled
    beside = [f"{equal.text(' %', scale=100, digits=0)} at equal length"] if equal and equal.value is not None else []
    if shown.own_base:
        beside.append(f"against its own base {shown.own_base.text(' %', scale=100, digits=0)}")
    if shown.over_champion:
        beside.append(f"{shown.over_champion.text(' points', signed=True, scale=100, digits=0)} on the champion's")
    unread = f", {shown.win_rate.n_unread} more without a verdict" if shown.win_rate.n_unread else ""
    told = f" ({'; '.join(beside)})" if beside else ""
    return (
        f"{shown.candidate} has a win rate of {shown.win_rate.text(' %', scale=100, digits=0)} against "
        f"{shown.opponent or 'its base'}{told}, judged by {shown.judge} in both "
        f"orders on {shown.win_rate.n} {where}{unread}."
    )
