"""What a session has bought: entries that may be written in any order and any number of times, and their sum.

Every paid step is promised under its resource's ID before it is taken, and settled under the same ID afterwards. What
is known of a resource only grows, so a restart that writes an entry again, or writes it late, counts nothing twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, Field

from preference.cost import usd_text


class OutOfBudget(Exception):
    """The next paid step does not fit into budget_usd; the message says which, and what to do."""


class Kind(StrEnum):
    RESERVED = "reserved"  # the most that the step may cost, before it is taken
    SETTLED = "settled"  # what it came to


class Source(StrEnum):
    """Where a settled amount comes from; the later one is believed."""

    COMPUTED = "computed"  # from usage, metrics and time, at the plan's prices
    BILLED = "billed"  # metered or rated by the platform


class Entry(BaseModel):
    """One line of ledger.jsonl."""

    kind: Kind
    resource: str  # what is billed as one: a job, one life of a deployment, the calls to one model
    category: str  # a line of the plan
    usd: float | None = Field(ge=0)  # so far in all, not since the last entry; None: unknown
    source: Source = Source.COMPUTED


class Item(BaseModel):
    """All that is known of one resource."""

    resource: str
    category: str
    reserved: bool = False
    reserved_usd: float | None = None  # None: of unknown price, or never reserved
    settled: bool = False
    usd: float | None = None  # None: not settled, or settled as unknown

    @property
    def most_usd(self) -> float | None:
        """What it costs, where that is known, else the most that it may; None where that is unknown, too."""
        return self.usd if self.usd is not None else self.reserved_usd


class Spent(BaseModel):
    """A sum with what is known and what is not kept apart."""

    usd: float = 0.0  # known
    open: list[str] = []  # resources whose cost is not known (yet)
    at_most_usd: float | None = 0.0  # with what was reserved for the open ones; None where one has no bound
    n_bought: int = 0  # resources, open ones included

    @property
    def known(self) -> bool:
        return not self.open

    def text(self) -> str:
        """A sentence for the plan, the gates and the report."""
        if not self.n_bought:
            return "Nothing has been spent so far."
        text = f"{usd_text(self.usd)} USD spent so far"
        if self.open:
            bound = "of unknown price" if self.at_most_usd is None else f"at most {usd_text(self.at_most_usd)} in all"
            text += f", and not known: {', '.join(self.open)} ({bound})"
        return text + "."


class Ledger(BaseModel):
    """A session's items by resource. The same entries in another order, or twice, are the same ledger."""

    items: dict[str, Item] = {}

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Ledger:
        """Raises ValueError where one resource stands under two categories."""
        found: dict[str, Item] = {}
        ranks: dict[str, tuple[Source, float]] = {}
        for entry in entries:
            item = found.setdefault(entry.resource, Item(resource=entry.resource, category=entry.category))
            if item.category != entry.category:
                raise ValueError(
                    f"the ledger has {entry.resource} as {item.category!r} and as {entry.category!r}: it is broken."
                )
            if entry.kind is Kind.RESERVED:
                # an unknown price stays unknown, and the larger promise is the one to keep
                known = entry.usd is not None and (not item.reserved or item.reserved_usd is not None)
                item.reserved_usd = max(entry.usd or 0.0, item.reserved_usd or 0.0) if known else None
                item.reserved = True
                continue
            item.settled = True
            if entry.usd is not None:
                rank = (entry.source, entry.usd)
                if entry.resource not in ranks or _later(rank, ranks[entry.resource]):
                    ranks[entry.resource], item.usd = rank, entry.usd
        return cls(items=dict(sorted(found.items())))

    def spent(self, category: str | None = None) -> Spent:
        """The sum over a category, or over all."""
        items = [item for item in self.items.values() if category in (None, item.category)]
        bounds = [item.most_usd for item in items]
        return Spent(
            usd=math.fsum(item.usd for item in items if item.usd is not None),
            open=[item.resource for item in items if item.usd is None],
            at_most_usd=None if None in bounds else math.fsum(b for b in bounds if b is not None),
            n_bought=len(items),
        )

    @property
    def categories(self) -> list[str]:
        return sorted({item.category for item in self.items.values()})

    @property
    def committed_usd(self) -> float:
        """The most that all of it may come to; what has no known bound counts as far as it is known."""
        return math.fsum(item.most_usd or 0.0 for item in self.items.values())


def _later(one: tuple[Source, float], other: tuple[Source, float]) -> bool:
    """The platform's word before our computing; of two by the same, the larger, since costs only grow."""
    order = list(Source)
    return (order.index(one[0]), one[1]) > (order.index(other[0]), other[1])


def check_budget(entries: Iterable[Entry], step: Entry, budget_usd: float | None) -> None:
    """Raises OutOfBudget where the step, reserved on top of the entries, would pass the budget.

    A step that promises nothing new, or is free, always fits. One of unknown price cannot be held to a budget: it
    was accepted as such at the plan gate.
    """
    if budget_usd is None:
        return
    before = list(entries)
    now, then = Ledger.of(before).committed_usd, Ledger.of([*before, step]).committed_usd
    if then > now and then > budget_usd + 1e-9:
        raise OutOfBudget(
            f"{step.resource} ({step.category.lower()}) may cost up to {usd_text(then - now)} USD more; "
            f"{usd_text(now)} of budget_usd {usd_text(budget_usd)} are spent or promised"
        )
