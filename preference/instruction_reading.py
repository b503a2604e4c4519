"""What a text was understood to ask for: fields with their words, questions, refusals, and the rest."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from preference.instruction_said import Found

TITLES = {  # of fields, in the middle of a sentence
    "dataset": "the dataset",
    "held_out": "the held-out dataset",
    "held_out_share": "the held-out share",
    "base_models": "the base models",
    "methods": "the methods",
    "evaluator": "the evaluator",
    "rubric": "the rubric",
    "judge": "the judge",
    "labelled": "the labelled pairs",
    "budget_usd": "the budget",
    "auto_approve_up_to_usd": "the cost to approve without asking",
    "auto_promote": "what is deployed without asking",
    "target_win_rate": "the target",
    "stop_at_target": "whether to stop early",
    "max_active_jobs": "the number of jobs at once",
    "sweep.learning_rates": "learning rates",
    "sweep.betas": "beta",
    "sweep.orpo_lambdas": "lambda",
    "sweep.lora_ranks": "LoRA ranks",
    "sweep.epochs": "epochs",
    "sweep.batch_size": "the batch size",
}


class Understood(BaseModel):
    """A field of the request, its value, and the words of the text that gave it."""

    field: str  # dotted: sweep.learning_rates
    value: Any
    words: str
    note: str = ""


class Unread(BaseModel):
    """Words that were not understood, or not acted on."""

    words: str
    why: str = "not understood"


class Question(BaseModel):
    """What must be answered before there is a value."""

    field: str
    text: str
    words: str


class Refusal(BaseModel):
    """What is not offered, and what is instead."""

    words: str
    text: str
    field: str = ""  # where another value would do


class Reading(BaseModel):
    """What a text was understood to ask for."""

    text: str
    understood: list[Understood] = []
    not_understood: list[Unread] = []
    questions: list[Question] = []
    refused: list[Refusal] = []
    second: list[str] = []  # what came of a second reading by a model

    @property
    def fields(self) -> dict[str, Any]:
        """{dotted field: value}"""
        return {u.field: u.value for u in self.understood}

    @property
    def clear(self) -> bool:
        """Whether all of it was understood and nothing is left to ask."""
        return not (self.not_understood or self.questions or self.refused)

    def words_for(self, field: str) -> str:
        return next((u.words for u in self.understood if u.field == field), "")


class Mention(BaseModel):
    """One field in one place of the text."""

    found: Found
    sentence: int
    first: int  # atoms of the sentence
    last: int
    words: str
    start: int
    corrects: bool = False  # "no, 3 epochs", "3 epochs instead": it takes the place of what was said before


def shown_value(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, list):
        return ", ".join(shown_value(v) for v in value) or "none given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
