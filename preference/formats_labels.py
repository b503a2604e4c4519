"""Two answers with a label, as judges' benchmarks have them (LLMBar, AlpacaEval), put into chosen and rejected."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

OUTPUTS = ("output_1", "output_2")
LABELS = ("label", "preference")
NOTE = "labelled outputs put into chosen and rejected"


def is_labelled(value: Json) -> bool:
    """Whether a row has two outputs and a column for the label."""
    return all(key in value for key in OUTPUTS) and any(key in value for key in LABELS)


def as_chosen_rejected(value: Json) -> Json | None:
    """The row with prompt, chosen and rejected; None where its label names neither output: a tie, or no label.

    The label is 1 or 2, as a number or a text. The prompt is `instruction`, joined with `input`, or `input` alone.
    """
    label = next(value[key] for key in LABELS if key in value)
    names = {"1": OUTPUTS, "1.0": OUTPUTS, "2": OUTPUTS[::-1], "2.0": OUTPUTS[::-1]}.get(str(label).strip())
    if names is None:
        return None
    chosen, rejected = (value[name] for name in names)
    rest = {key: kept for key, kept in value.items() if key not in (*OUTPUTS, *LABELS)}
    if isinstance(value.get("input"), str) and value.get("instruction") is None:
        rest["prompt"] = rest.pop("input")
    return {**rest, "chosen": chosen, "rejected": rejected}
