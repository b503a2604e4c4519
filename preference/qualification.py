"""Whether a judge may decide: its verdicts on labelled pairs, in both orders, against "pick the longer".

Agreement among people is about 66 % on such pairs and picking the longer answer gets 62 % of them right (AlpacaEval's
cross-annotations), so that a judge below its own line adds a bill and no knowledge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel

from preference.labelled import LEAST_LABELS, LEAST_OF_A_KIND, LabelledPair
from preference.pairwise import Reply
from preference.rates import Verdict, verdict_score
from preference.standings import Estimate
from preference.stats import win_rate

LEAST_CONSISTENT = 0.5  # small models that only look at the position have 0 to 5 %; MT-Bench's GPT-4 had 65 %
MOST_UNREAD = 0.2

WHAT_CAN_BE_DONE = """What can be done: give `evaluator` (code that scores an answer needs no judge), save a \
JudgeEndpoint with a stronger model and name it in `judge`, write a clearer `rubric`, or name pairs in `labelled` \
whose labels you trust. Verdicts that were paid for are kept with the session, not carried over to a new run."""


class Qualification(BaseModel):
    """What a judge did on labelled pairs. reasons: why it is below the line; none where it is qualified."""

    judge: str
    source: str  # whose labels, for people
    rubric: str
    n_labels: int
    n_shorter_better: int
    agreement: Estimate  # share of labels, a tie or a flipped verdict half
    pick_longer: float | None  # on the same labels
    consistent: float | None  # share of the read pairs whose two verdicts name the same answer, or both a tie
    first_picked: float | None  # share of the verdicts without a tie that name the answer shown first
    unread: float | None  # share of pairs
    reasons: list[str]
    notes: list[str] = []  # what one should know all the same
    troubles: list[str] = []  # the first unread verdicts' reasons

    @property
    def qualified(self) -> bool:
        return not self.reasons

    @property
    def doubt(self) -> str:
        """Said beside every number that such a judge gives."""
        return "" if self.qualified else f"The judge {self.judge} is below the line: {'; '.join(self.reasons)}."


def qualify(
    pairs: Sequence[LabelledPair],
    replies: Sequence[tuple[Reply, Reply]],
    *,
    judge: str,
    source: str,
    rubric: str,
    n_tries: int = 1,
) -> Qualification:
    """Agreement, consistency and unread share, and what they come to.

    replies: (n_labels, 2), the better answer shown first, then second. n_tries: of how many rubrics the best may be
    picked; the interval is widened so that all of them hold at once (Bonferroni).
    """
    scores = [verdict_score(first.verdict, second.verdict) for first, second in replies]
    read = [(a.verdict, b.verdict) for (a, b), s in zip(replies, scores, strict=True) if s is not None]
    single = [r.verdict for both in replies for r in both if r.verdict in ("A", "B")]
    n_shorter = sum(pair.longer_by < 0 for pair in pairs)
    found = Qualification(
        judge=judge,
        source=source,
        rubric=rubric,
        n_labels=len(pairs),
        n_shorter_better=n_shorter,
        agreement=Estimate.of(win_rate([math.nan if s is None else s for s in scores], confidence=1 - 0.05 / n_tries)),
        pick_longer=1 - n_shorter / len(pairs) if pairs else None,
        consistent=sum(_consistent(*both) for both in read) / len(read) if read else None,
        first_picked=single.count("A") / len(single) if single else None,
        unread=1 - len(read) / len(pairs) if pairs else None,
        reasons=[],
        troubles=list(dict.fromkeys(r.reason for both in replies for r in both if r.verdict == "unread"))[:3],
    )
    return found.model_copy(update={"reasons": _reasons(found), "notes": _notes(found)})


def _consistent(first: Verdict, second: Verdict) -> bool:
    return (first, second) in {("A", "B"), ("B", "A"), ("tie", "tie")}


def _reasons(found: Qualification) -> list[str]:
    """Each line that the judge is below, in words."""
    agreement = found.agreement
    reasons = []
    if agreement.n < LEAST_LABELS:
        reasons.append(f"{agreement.n} labels were judged, and {LEAST_LABELS} are the least that can tell anything")
    if found.n_shorter_better < LEAST_OF_A_KIND:
        reasons.append(
            f"the shorter answer is the better one in {found.n_shorter_better} of {found.n_labels} labels "
            f"({LEAST_OF_A_KIND} are needed): a judge that picks the longer answer would pass unseen"
        )
    if found.unread is None or found.unread > MOST_UNREAD:
        reasons.append(f"{_percent(found.unread)} of the verdicts could not be read (at most {_percent(MOST_UNREAD)})")
    if found.consistent is not None and found.consistent < LEAST_CONSISTENT:
        reasons.append(
            f"only {_percent(found.consistent)} of its verdicts stay the same when the answers change places "
            f"(at least {_percent(LEAST_CONSISTENT)}); it names the answer shown first in "
            f"{_percent(found.first_picked)}"
        )
    line = max(0.5, found.pick_longer or 0.0)
    if agreement.low is None or agreement.low <= line:
        reasons.append(
            f"its agreement with the labels, {agreement.text(' %', scale=100, digits=0)}, is not surely above "
            f"{_percent(line)}, which "
            + ("picking the longer answer" if found.pick_longer and found.pick_longer >= 0.5 else "a coin")
            + " reaches"
        )
    return reasons


def _notes(found: Qualification) -> list[str]:
    if found.n_labels and found.n_labels - found.n_shorter_better < LEAST_OF_A_KIND:
        return [
            "The better answer is the shorter one in nearly all labels: whether the judge sees more than that is not "
            "known."
        ]
    return []


def qualification_markdown(found: Qualification) -> str:
    """The judge's page: the gate shows it where the judge is below the line, the report and the artifact always."""
    verdict = (
        f"**{found.judge} is qualified** to judge by this rubric."
        if found.qualified
        else f"**{found.judge} is not qualified** to judge by this rubric."
    )
    return "\n".join(
        [
            verdict,
            *(f"- {text[0].upper()}{text[1:]}." for text in found.reasons),
            "",
            f"| tried on {found.n_labels} labelled pairs, both orders | |",
            "| --- | ---: |",
            f"| labels | {found.source} |",
            f"| agreement with the labels, a tie half | {found.agreement.text(' %', scale=100, digits=0)} |",
            f"| “pick the longer” on the same pairs | {_percent(found.pick_longer)} |",
            f"| verdicts that stay when the answers change places | {_percent(found.consistent)} |",
            f"| verdicts for the answer shown first | {_percent(found.first_picked)} |",
            f"| pairs with an unread verdict | {_percent(found.unread)} |",
            "",
            *(f"- {note}" for note in found.notes),
            *(f"- Unread: {trouble}" for trouble in found.troubles),
            "Rubric:",
            "",
            *(f"> {line}" for line in found.rubric.splitlines()),
            "",
        ]
    )


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.0f} %"
