"""Whether a model reads the instruction, too: at once where that is free, else after somebody agreed to its price.

Parsing with a model is a paid step, and the plan is made from what was parsed. So the one call cannot wait for the
plan's approval without planning, asking and paying for a plan that it may overturn: where it costs, it has an approval
of its own, in the form that asks what is missing, with its price. A policy (`auto_approve_up_to_usd`) answers that
where the most it may cost is known and within it; an unknown price always waits. "no" leaves it out, and the plan says
so. So does whatever else keeps it from being done, or makes it no use: the first reading stands alone then.
"""

from __future__ import annotations

from typing import Any

from prefect.input import RunInput

from blocks.judge import JudgeEndpoint
from flows.decisions import YesNo
from flows.gates import gate
from flows.sessions import Session
from preference.cost import usd_text
from preference.filling import is_given
from preference.instruction_reading import Question, Reading
from preference.instruction_second import FIELDS, UnusableReading, compare
from preference.ledger import OutOfBudget
from tasks.judge_model import load_endpoint
from tasks.second_reading import most_usd, read_second_time
from tasks.spending import ledger

FIELD = "second_reading"


class ReadingAnswer(RunInput):
    """What a policy answers; people answer in the form that asks what is missing."""

    decision: YesNo


class SecondReader:
    """The second reading of a run's instruction: not wanted, waiting for a yes to its price, or done."""

    def __init__(self, run: Session, reading: Reading) -> None:
        self.run, self.reading = run, reading
        self.name = run.request.second_reading
        self.endpoint: JudgeEndpoint | None = None
        self.question: Question | None = None
        if not (self.name and run.request.instruction):
            return
        self.endpoint = load_endpoint(self.name)
        if self.endpoint is None:
            why = f"there is no JudgeEndpoint block called {self.name!r}; save one in Prefect's UI (Blocks)."
            reading.second.append(f"not done: {why}")
        elif self._price() == (0, 0):
            self._read("free")
        elif policy := self._policy():
            gate(
                run.workspace,
                ReadingAnswer,
                "reading",
                self._price_text(),
                timeout_days=run.request.gate_timeout_days,
                facts=self.facts,
                policy=(policy, ReadingAnswer(decision=YesNo.APPROVE)),
            )
            self._read(f"approved by {policy}")
        else:
            self.question = Question(field=FIELD, words="", text=self._price_text())

    def decide(self, agreed: bool) -> None:
        """Take up the answer to the question."""
        self.question = None
        if agreed:
            self._read("agreed to in the form")
        else:
            self.reading.second.append(f"by {self.name}: not done, as told in the form.")

    def _price(self) -> tuple[float, float] | None:
        assert self.endpoint is not None
        return most_usd(self.endpoint, self.run.request.instruction)

    @property
    def facts(self) -> dict[str, Any]:
        """For the approval's record."""
        return {"second_reading_usd": self._price()}

    def _policy(self) -> str:
        """What approves the call without a human; empty where nothing does."""
        price, limit = self._price(), self.run.request.auto_approve_up_to_usd
        spent = ledger(self.run.workspace).spent().at_most_usd
        fits = price is not None and limit is not None and spent is not None and price[1] + spent <= limit
        return f"auto_approve_up_to_usd {limit:g}" if fits else ""

    def _price_text(self) -> str:
        price = self._price()
        cost = "at a price that is not known"
        if price is not None:
            cost = f"{usd_text(price[0])} USD expected, {usd_text(price[1])} USD at most"
        return (
            f"{self.name} is to read the instruction a second time, before the plan. One call, {cost}. Is that OK? "
            "Yes makes it, and asks where the readings differ; no goes on without it."
        )

    def _read(self, why_asked: str) -> None:
        assert self.endpoint is not None
        request = self.run.request
        try:
            second = read_second_time(self.run.workspace, self.endpoint, request.instruction, request.budget_usd)
        except (UnusableReading, OutOfBudget) as error:
            self.reading.second.append(f"by {self.name}: not usable, so the first reading stands alone. {error}")
            return
        given = [name for name in FIELDS if is_given(request, name)]
        lines = compare(self.reading, second, self.name, given)
        self.reading.second += [f"({why_asked}) {line}" if n == 0 else line for n, line in enumerate(lines)]
