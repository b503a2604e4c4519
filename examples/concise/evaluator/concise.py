"""Is the last answer one short, finished statement about what was asked?

A pointwise evaluator in the platform's plain form: evaluate(messages, **kwargs) gives a score from 0 to 1. Length
alone earns nothing: an answer that is empty, cut off, about something else, made of the question's own words, or of
the same words over and over scores 0, however short it is. So a model that has collapsed cannot win.
"""

from __future__ import annotations

import re
from typing import Any

FEWEST_WORDS = 4
SHORT_WORDS = 30  # up to here an answer is concise
LONG_WORDS = 60  # from here it is not at all; between the two the score falls in a straight line
FEWEST_NEW_WORDS = 3  # content words that the question did not have
MOST_REPEATED = 0.2  # share of the three-word sequences that were there before

STOP_WORDS = set(
    """a about all also an and any are as at be because been being but by can could describe did do does each explain
    for from had has have he her his how i if in into is it its just like made make many may me might more most much
    no not of often on one only or other our out over please she should so some such than that the their them then
    there these they this those to too up use used very was we were what when where which while who why will with
    would you your beginner tell""".split()
)


def evaluate(messages: list[dict[str, Any]], **kwargs: Any) -> dict[str, Any]:
    """messages: the conversation, whose last assistant message is the answer; contents are text."""
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    questions = [message["content"] for message in messages if message["role"] == "user"]
    if not answers or not questions:
        return {"score": 0.0, "is_score_valid": False, "reason": "no question, or no answer to it", "metrics": {}}
    question, answer = words(questions[-1]), words(answers[-1])
    checks = {
        "finished": bool(re.search(r"[.!?][\"')\]]*\s*$", answers[-1])),
        "on_topic": on_topic(question, answer),
        "says_something": len(content_words(answer) - content_words(question)) >= FEWEST_NEW_WORDS,
        "a_sentence": is_sentence(answer),
        "no_repetition": repeated_share(answer) <= MOST_REPEATED,
        "not_empty": len(answer) >= FEWEST_WORDS,
    }
    brevity = length_score(len(answer))
    failed = [name for name, passed in checks.items() if not passed]
    score = 0.0 if failed else brevity
    reason = f"not {', '.join(failed)}" if failed else f"{len(answer)} words, on topic and finished"
    metrics = {name: metric(float(passed)) for name, passed in checks.items()} | {"brevity": metric(brevity)}
    return {"score": score, "is_score_valid": True, "reason": reason, "metrics": metrics}


def metric(score: float) -> dict[str, Any]:
    return {"score": score, "is_score_valid": True, "reason": ""}


def words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", text.lower())


def stem(word: str) -> str:
    """Crude and enough: waterfall and waterfalls, berry and berries are one."""
    return re.sub(r"(ies|es|s|y)$", "", word) if len(word) > 3 else word


def content_words(tokens: list[str]) -> set[str]:
    return {stem(word) for word in tokens if word not in STOP_WORDS}


def on_topic(question: list[str], answer: list[str]) -> bool:
    """Whether the answer has at least half of the question's content words, early on."""
    wanted = content_words(question)
    found = wanted & content_words(answer[:SHORT_WORDS])
    return bool(wanted) and 2 * len(found) >= len(wanted)


def is_sentence(answer: list[str]) -> bool:
    """English prose has function words, between a quarter and two thirds; word salad has none, loops have one."""
    function = [word for word in answer if word in STOP_WORDS]
    return len(set(function)) >= 2 and 0.2 <= len(function) / len(answer) <= 0.75


def repeated_share(answer: list[str]) -> float:
    """Share of the three-word sequences that occurred before; of the words, where there are fewer than six."""
    size = 3 if len(answer) >= 6 else 1
    grams = [tuple(answer[i : i + size]) for i in range(len(answer) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def length_score(n_words: int) -> float:
    return max(0.0, min(1.0, (LONG_WORDS - n_words) / (LONG_WORDS - SHORT_WORDS)))
