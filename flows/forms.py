"""What the gates' forms have in common, and the form of the plan's gate."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from prefect.input import RunInput
from pydantic import Field, field_validator

from preference.instruction_guard import check_text


def your_name(position: int) -> Any:
    """The field that every form has last: who answers, if they like."""
    return Field(
        "",
        title="Your name",
        description="Kept with the answer.",
        max_length=100,
        json_schema_extra={"position": position},
    )


class PlanDecision(StrEnum):
    APPROVE = "approve"
    CHANGE = "change"
    REJECT = "reject"


class PlanAnswer(RunInput):
    """Approve the plan and its cost, change it, or reject it."""

    decision: PlanDecision = Field(
        title="Decision",
        description="Approve starts the sweep. Change plans, prices and asks again. Reject ends the run with nothing "
        "trained and nothing spent.",
        json_schema_extra={"position": 0},
    )
    change: str = Field(
        "",
        title="What to change",
        description="Only for change, in plain English: Use Qwen3 8B instead. 3 epochs, learning rates 1e-5 and 5e-5.",
        max_length=2000,
        json_schema_extra={"position": 1, "only_for": ["change"]},
    )
    budget: str = Field(
        "",
        title="Budget (USD)",
        description="Only for change: such as 5. Empty: as it is.",
        max_length=20,
        json_schema_extra={"position": 2, "only_for": ["change"]},
    )
    name: str = your_name(3)

    @field_validator("change")
    @classmethod
    def _holds_no_key(cls, change: str) -> str:
        """The answer is written into the run's log and its approvals: what looks like a key must not get there."""
        check_text(change)
        return change
