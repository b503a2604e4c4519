"""A judge's word on pairs: each is asked about in both orders, and what it does not confirm may be left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel

from preference.rates import Verdict, verdict_score, win_rate
from preference.standings import Estimate

REVERSED = "reversed by the judge"
TIED = "tied by the judge"  # also where the verdict turns with the order: never broken at random
UNREAD = "not read by the judge"
Outcome = Literal["won", "tied", "lost", "unread"]

_SHOWN_FIRST: dict[Verdict, Outcome] = {"A": "won", "B": "lost", "tie": "tied", "unread": "unread"}
_SHOWN_SECOND: dict[Verdict, Outcome] = {"A": "lost", "B": "won", "tie": "tied", "unread": "unread"}


class PairVerdict(BaseModel):
    """Two verdicts on one pair, each as the judge gave it: A is the answer that it was shown first."""

    strong_first: Verdict
    strong_second: Verdict

    @property
    def score(self) -> float | None:
        """1 the strong model's answer won in both orders, 0 lost both, 0.5 anything else, None unread."""
        return verdict_score(self.strong_first, self.strong_second)

    @property
    def why_not(self) -> str | None:
        """Why the filter leaves the pair out; None where the strong model's answer won in both orders."""
        return {1.0: None, 0.0: REVERSED, 0.5: TIED, None: UNREAD}[self.score]


class Share(BaseModel):
    """How the strong model's answers fared at one place."""

    won: int = 0
    tied: int = 0
    lost: int = 0
    unread: int = 0

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Share:
        return cls(**{name: outcomes.count(name) for name in cls.model_fields})

    @property
    def n_read(self) -> int:
        return self.won + self.tied + self.lost

    def text(self) -> str:
        """80 % (16 won, 2 tied, 2 lost); a tie is half."""
        share = f"{(self.won + self.tied / 2) / self.n_read:.0%}" if self.n_read else "unknown"
        unread = f", {self.unread} unread" if self.unread else ""
        return f"{share} ({self.won} won, {self.tied} tied, {self.lost} lost{unread})"


class JudgedPairs(BaseModel):
    """What a judge said of some pairs."""

    judge: str
    win_rate: Estimate  # of the strong model, over both orders
    shown_first: Share
    shown_second: Share

    @classmethod
    def of(cls, judge: str, verdicts: Sequence[PairVerdict]) -> JudgedPairs:
        return cls(
            judge=judge,
            win_rate=Estimate.of(win_rate(np.array([verdict.score for verdict in verdicts], dtype=float))),
            shown_first=Share.of([_SHOWN_FIRST[verdict.strong_first] for verdict in verdicts]),
            shown_second=Share.of([_SHOWN_SECOND[verdict.strong_second] for verdict in verdicts]),
        )

    def text(self) -> str:
        rate = self.win_rate.text(" %", scale=100, digits=0)
        return (
            f"by {self.judge}, in both orders, the strong model wins {rate} of {self.win_rate.n}; "
            f"shown first {self.shown_first.text()}, shown second {self.shown_second.text()}"
        )
