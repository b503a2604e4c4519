"""What a model said, apart from what it thought."""

from __future__ import annotations

import re

from preference.wire import ChatCompletion, Choice

_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


def without_thinking(text: str) -> str:
    """The text without its <think>…</think> parts.

    A template may put the opening tag into the prompt, so all before a lone </think> is thought, too; what an
    answer cut short left open is thought to its end, and may leave nothing.
    """
    text = _THOUGHT.sub("", text)
    text = text.rsplit("</think>", 1)[-1]
    return text.split("<think>", 1)[0].strip()


def choice_text(choice: Choice) -> str:
    """What the choice says to its reader, "" where it says nothing."""
    return without_thinking(_content(choice))


def thinking_is_open(choice: Choice) -> bool:
    """Whether the choice began to think and did not end it: what it would have said is not known."""
    return "<think>" in _THOUGHT.sub("", _content(choice)).rsplit("</think>", 1)[-1]


def _content(choice: Choice) -> str:
    content = choice.message.content
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content)
    return content or ""


def answer_texts(completion: ChatCompletion) -> list[str]:
    """The texts of all n choices, in the order of their index."""
    return [choice_text(choice) for choice in sorted(completion.choices, key=lambda c: c.index)]
