"""Messages in any of the dialects that people's files have, as role and content."""

from __future__ import annotations

import json
import re
from typing import Any

from preference.formats_faults import RowDropped, RowFault, shown

Json = dict[str, Any]

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant",
    "bot": "assistant", "model": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_call": "tool",
}  # fmt: skip
TURN = re.compile(r"\n\n(Human|Assistant):")
_MESSAGE_FIELDS = frozenset({"role", "content", "from", "value", "tool_calls"})


def read_messages(value: Any, name: str, notes: list[str]) -> list[Json]:
    """Messages in any of the known dialects, as role and content."""
    if value is None:
        raise RowFault(name, "missing", "nothing", "a list of messages")
    if not isinstance(value, list):
        raise RowFault(name, "wrong type", shown(value), "a list of messages")
    if not value:
        raise RowFault(name, "empty list", "[]", "at least one message")
    return [_message(message, f"{name}[{i}]", notes) for i, message in enumerate(value)]


def _message(value: Any, name: str, notes: list[str]) -> Json:
    if not isinstance(value, dict):
        raise RowFault(name, "not an object", shown(value), 'a message such as {"role": "user", "content": "..."}')
    role = value.get("role", value.get("from"))
    if role is None:
        raise RowFault(f"{name}.role", "missing", f"the fields {shown(list(value))}", "system, user or assistant")
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise RowFault(f"{name}.role", "unknown role", shown(role), "system, user or assistant")
    known = ROLES[role.lower()]
    if known != role:
        _note(notes, "roles renamed")
    if value.get("tool_calls") or known == "tool":
        raise RowDropped("tool calls")
    if any(key not in _MESSAGE_FIELDS and kept is not None for key, kept in value.items()):
        _note(notes, "message fields the API does not take removed")
    content = value.get("content", value.get("value"))
    return {"role": known, "content": _content(content, f"{name}.content", notes)}


def _content(value: Any, name: str, notes: list[str]) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        raise RowFault(name, "missing", "nothing", "text")
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        if any(part.get("type", "text") != "text" for part in value):
            raise RowDropped("content that is not text")
        if all(isinstance(part.get("text"), str) for part in value):
            _note(notes, "text parts joined")
            return "".join(part["text"] for part in value)
    raise RowFault(name, "wrong type", shown(value), "text")


def parsed(value: Any, notes: list[str]) -> Any:
    """Messages that stand as JSON in a text, as files that went through CSV have them."""
    if not isinstance(value, str) or not value.lstrip().startswith("[{"):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    if not all(isinstance(one, dict) and ("role" in one or "from" in one) for one in found):
        return value
    _note(notes, "messages read from text")
    return found


def read_answers(value: Any, name: str, notes: list[str]) -> list[Json]:
    if isinstance(value, str):
        _note(notes, "answer text put into a message")
        return [assistant(value)]
    if isinstance(value, dict):
        _note(notes, "answer put into a list")
        value = [value]
    messages = read_messages(value, name, notes)
    if len(messages) > 1:
        raise RowDropped("more than one answer message")
    return messages


def read_tools(value: Any, notes: list[str]) -> list[Any]:
    if isinstance(value, str):  # as TRL writes them into columns of one type
        if not value.strip():
            return []
        notes.append("tools read from text")
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowFault("tools", "broken JSON", shown(value), "a list of tool definitions") from None
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise RowFault("tools", "wrong type", shown(value), "a list of tool definitions")
    return value


def cut_dialogue(text: str, name: str) -> list[Json]:
    r"""'\n\nHuman: a\n\nAssistant: b' as messages (hh-rlhf)."""
    if not TURN.match(text):
        raise RowFault(
            name, "not a dialogue", shown(text), "text that starts with '\\n\\nHuman:' as its other side does"
        )
    _, *parts = TURN.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]


def joined(messages: list[Json], by: str = "\n") -> str:
    return by.join(message["content"] for message in messages)


def user(content: str) -> Json:
    return {"role": "user", "content": content}


def assistant(content: str) -> Json:
    return {"role": "assistant", "content": content}


def one_turn(messages: list[Json], notes: list[str]) -> list[Json]:
    """At most one system message, then one user message: what a managed job takes."""
    systems = [message for message in messages if message["role"] == "system"]
    rest = [message for message in messages if message["role"] != "system"]
    if not rest:
        raise RowDropped("no user message")
    if any(message["role"] != "user" for message in rest):
        raise RowDropped("more than one turn")
    if messages[: len(systems)] != systems:
        raise RowDropped("a system message after the first place")
    if len(systems) > 1:
        notes.append("system messages joined")
        systems = [{"role": "system", "content": joined(systems, "\n\n")}]
    if len(rest) > 1:
        notes.append("user messages joined")
        rest = [user(joined(rest, "\n\n"))]
    if not rest[0]["content"].strip():
        raise RowDropped("empty prompt")
    if systems and not systems[0]["content"].strip():
        notes.append("empty system message removed")
        systems = []
    return no_nul([*systems, *rest])


def no_nul(messages: list[Json]) -> list[Json]:
    if any("\0" in message["content"] for message in messages):
        raise RowDropped("NUL character in a text")
    return messages


def _note(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)
