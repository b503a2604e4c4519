"""Whether a model reads the instruction, too: at once where that is free, else after somebody agreed to its price.

Parsing with a model is a paid step, and the plan is made from what was parsed. So the one call cannot wait for the
plan's approval without planning, asking and paying for a plan that it may overturn: where it costs, it has an approval
of its own, in the form that asks what is missing, with its price. That yes or no holds for the changes typed at the
plan's gate as well, which are read twice like the instruction; where it was never asked for, a gate asks. A policy
(`auto_approve_up_to_usd`) answers where the most it may cost is known and within it; an unknown price always waits.
"no" leaves it out, and the plan says so. So does whatever else keeps it from being done, or makes it no use: the first
reading stands alone then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

from prefect.input import RunInput
from pydantic import Field

from blocks.judge import JudgeEndpoint
from flows.decisions import YesNo
from flows.forms import your_name
from flows.gates import answer_before, gate
from flows.sessions import Session
from preference.cost import usd_text
from preference.filling import is_given
from preference.instruction_reading import Question, Reading
from preference.instruction_second import FIELDS, UnusableReading, compare
from preference.ledger import OutOfBudget
from preference.session import resource
from tasks.judge_model import load_endpoint
from tasks.second_reading import most_usd, read_second_time
from tasks.spending import ledger

FIELD = "second_reading"
_AT_THE_GATE = "at the gate"  # one wording, since a page that is shown again has to be the same
LONGEST_CHANGE = 2000  # characters: the plan gate's field takes no more


class ReadingAnswer(RunInput):
    """One call to a model, to read a change a second time, or not."""

    decision: YesNo = Field(
        title="Decision",
        description="Approve makes the call, and shows where the readings differ. Reject goes on without it.",
        json_schema_extra={"position": 0},
    )
    name: str = your_name(1)


class SecondReader:
    """The second reading of what a run is told: not wanted, waiting for a yes to its price, or done."""

    def __init__(self, run: Session, reading: Reading) -> None:
        self.run, self.reading = run, reading
        self.name = run.request.second_reading
        self.endpoint: JudgeEndpoint | None = load_endpoint(self.name) if self.name else None
        self.question: Question | None = None
        self.agreed: bool | None = None  # what the form was told; None where it was not asked
        if not (self.name and run.request.instruction):
            return
        if self.endpoint is None:
            reading.second.append(self._no_block())
        elif why := self._unasked(reading.text, self._facts(reading.text), self._price_text(reading.text)):
            self._read(reading, why, self._given())
        else:
            self.question = Question(field=FIELD, words="", text=self._price_text(reading.text))

    @property
    def facts(self) -> dict[str, Any]:
        """For the approval's record."""
        return self._facts(self.reading.text)

    def decide(self, agreed: bool) -> None:
        """Take up the answer to the question."""
        self.question, self.agreed = None, agreed
        if agreed:
            self._read(self.reading, "agreed to in the form", self._given())
        else:
            self.reading.second.append(f"by {self.name}: not done, as told in the form.")

    def read_change(self, reading: Reading) -> None:
        """Read a change typed at the plan's gate a second time, too; where the readings differ, the next page asks."""
        if not (self.name and reading.text.strip()) or self.agreed is False:
            return
        if self.endpoint is None:
            reading.second.append(self._no_block())
            return
        page = (
            f"# Read this change a second time?\n\n> {' '.join(reading.text.split())}\n\nBy {self.name}: one call, "
            f"{self._cost(reading.text)}. Approve makes it, and shows where the readings differ; reject does not."
        )
        facts = self._facts(reading.text)
        why = "agreed to in the form" if self.agreed else self._unasked(reading.text, facts, page)
        if not why:
            days = self.run.request.gate_timeout_days
            answer = gate(self.run.workspace, ReadingAnswer, "reading", page, timeout_days=days, facts=facts)
            if answer.decision is not YesNo.APPROVE:
                reading.second.append(f"by {self.name}: not done, as told at the gate.")
                return
            why = f"approved {_AT_THE_GATE}"
        self._read(reading, why, (), role=f"reading-{hashlib.sha256(reading.text.encode()).hexdigest()[:8]}")

    def _no_block(self) -> str:
        return f"not done: there is no JudgeEndpoint block called {self.name!r}; save one in Prefect's UI (Blocks)."

    def _unasked(self, text: str, facts: dict[str, Any], page: str) -> str:
        """What allows the call without a human, taken up; empty where nothing does."""
        price, limit = self._price(text), self.run.request.auto_approve_up_to_usd
        if price == (0, 0):
            return "free"
        if before := answer_before(self.run.workspace, "reading", page):  # its cost counts as spent by now
            by = f"by {before['policy']}" if before["policy"] else _AT_THE_GATE
            return f"approved {by}" if before["answer"]["decision"] == "approve" else ""
        spent = ledger(self.run.workspace).spent().at_most_usd
        if price is None or limit is None or spent is None or price[1] + spent > limit:
            return ""
        policy = f"auto_approve_up_to_usd {limit:g}"
        gate(
            self.run.workspace,
            ReadingAnswer,
            "reading",
            page,
            timeout_days=self.run.request.gate_timeout_days,
            facts=facts,
            policy=(policy, ReadingAnswer(decision=YesNo.APPROVE)),
        )
        return f"approved by {policy}"

    def _given(self) -> list[str]:
        return [name for name in FIELDS if is_given(self.run.request, name)]

    def _price(self, text: str) -> tuple[float, float] | None:
        assert self.endpoint is not None
        return most_usd(self.endpoint, text)

    def _facts(self, text: str) -> dict[str, Any]:
        return {"second_reading_usd": self._price(text)}

    def _price_text(self, text: str) -> str:
        return (
            f"{self.name} is to read the instruction a second time, before the plan. One call, {self._cost(text)}. "
            "Is that OK? Yes makes it, and asks where the readings differ; no goes on without it. The same answer "
            f"holds for each change typed at the plan's gate: one call, {self._cost('x' * LONGEST_CHANGE)}."
        )

    def _cost(self, text: str) -> str:
        price = self._price(text)
        if price is None:
            return "at a price that is not known"
        return f"{usd_text(price[0])} USD expected, {usd_text(price[1])} USD at most"

    def _read(self, reading: Reading, why_asked: str, given: Collection[str], role: str = "reading") -> None:
        assert self.endpoint is not None
        workspace, budget = self.run.workspace, self.run.request.budget_usd
        try:
            second = read_second_time(workspace, self.endpoint, reading.text, budget, role)
        except (UnusableReading, OutOfBudget) as error:
            reading.second.append(f"by {self.name}: not usable, so the first reading stands alone. {error}")
            return
        lines = compare(reading, second, self.name, given)
        paid = ledger(workspace).items[resource(workspace.session, role)].usd
        cost = f", {usd_text(paid)} USD" if paid else ""
        reading.second += [f"({why_asked}{cost}) {line}" if n == 0 else line for n, line in enumerate(lines)]
