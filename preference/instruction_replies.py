"""An answer to one question about one field: "0.1 and 0.3", "yes", a name, as the field's value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from preference.instruction import read_instruction
from preference.instruction_guard import check_text
from preference.instruction_models import KnownModel, matches
from preference.settings import AutoPromote, Wait
from preference.settings_sweep import Strategy

_NAMES = ("dataset", "held_out", "evaluator", "rubric", "labelled", "judge")  # taken as they stand
_LABELS = {  # what is put before a bare answer, so that it reads as an instruction
    "base_models": "base models",
    "methods": "use",
    "budget_usd": "budget",
    "target_win_rate": "win rate",
    "target_score": "score",
    "max_active_jobs": "jobs in parallel:",
    "held_out_share": "hold out",
    "champion": "champion",
    "pairs.strong": "strong model",
    "pairs.weak": "weak model",
    "pairs.max_prompts": "make pairs for prompts:",
    "auto_approve_up_to_usd": "auto approve up to",
    "gate_timeout_days": "wait",
    "sweep.learning_rates": "learning rates",
    "sweep.betas": "betas",
    "sweep.orpo_lambdas": "lambdas",
    "sweep.lora_ranks": "ranks",
    "sweep.epochs": "epochs",
    "sweep.batch_size": "batch size",
    "sweep.max_context_length": "context length",
    "sampling.max_tokens": "max tokens",
    "sampling.temperature": "temperature",
}
_ID = r"[\w./:-]+"
_AMOUNT = re.compile(r"\d{1,6}(\.\d+)?")
_YES_OR_NO = ("stop_at_target", "second_reading")
_CHOICES = {"strategy": tuple(Strategy), "wait": tuple(Wait), "auto_promote": tuple(AutoPromote)}
_NO = re.compile(r"\W*(no|n|nope|don't|do not|never|skip)\b[\w\s,.!']*", re.I)
_YES = re.compile(r"\W*(yes|y|ok|okay|sure|sweep|fine|all of them|go ahead|please do)\b[\w\s,.!]*", re.I)


def reply(field: str, text: str, catalogue: Sequence[KnownModel] = ()) -> dict[str, Any]:
    """{field: value} for everything that the answer gives; empty where it does not answer."""
    text = text.strip()
    check_text(text)
    if not text:
        return {}
    if field in _NAMES:
        return {field: text.strip("\"'“”")}
    if field == "sweep.n_trials":
        return {field: int(text)} if text.isdecimal() else {}
    if field in _YES_OR_NO and (_YES.fullmatch(text) or _NO.fullmatch(text)):
        return {field: bool(_YES.fullmatch(text))}
    if field == "auto_approve_up_to_usd" and (_AMOUNT.fullmatch(text) or _NO.fullmatch(text)):
        return {field: float(text) if _AMOUNT.fullmatch(text) else None}
    if field == "auto_promote" and (_YES.fullmatch(text) or _NO.fullmatch(text)):
        return {field: AutoPromote.CLEAR_WINNER if _YES.fullmatch(text) else AutoPromote.NEVER}
    if text.casefold().replace(" ", "_") in _CHOICES.get(field, ()):
        return {field: text.casefold().replace(" ", "_")}
    if field == "base_models" and _YES.fullmatch(text) and not matches(text, catalogue):
        return {field: []}
    said = read_instruction(text, catalogue)
    if field not in said.fields and field in _LABELS:
        labelled = read_instruction(f"{_LABELS[field]} {text}", catalogue)
        said = labelled if field in labelled.fields else said
    if field in said.fields:
        return said.fields if not (said.questions or said.refused) else {}
    if field == "base_models" and not (said.questions or said.refused):
        names = [name.strip() for name in re.split(r",|;|\band\b", text)]
        return {field: names} if all(re.fullmatch(_ID, name) for name in names) else {}
    if field in ("pairs.strong", "pairs.weak") and not (said.questions or said.refused) and re.fullmatch(_ID, text):
        return {field: text}
    return {}
