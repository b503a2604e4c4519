"""A plain function over messages, in a package, with relative imports: 1 for an answer within its budget of words."""

from __future__ import annotations

from .words import share_of_filler


def evaluate(messages: list[dict], budget: int = 20, **kwargs) -> dict:
    text = messages[-1]["content"]
    words = len(text.split())
    brevity = 1.0 if words <= budget else budget / words
    plain = 1.0 - share_of_filler(text)
    return {
        "score": brevity * plain,
        "reason": f"{words} words of {budget}",
        "metrics": {
            "brevity": {"score": brevity, "is_score_valid": True, "reason": ""},
            "plain": {"score": plain, "is_score_valid": True, "reason": ""},
        },
    }
