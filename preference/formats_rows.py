"""One row of somebody's preference data as a canonical row, or the reason why it cannot be one.

Canonical rows are Fireworks' own (docs: fine-tuning/dpo-fine-tuning):

    {"input": {"messages": [...], "tools": [...]},                      Format A: a pair
     "preferred_output": [{"role": "assistant", "content": "..."}],
     "non_preferred_output": [{"role": "assistant", "content": "..."}]}
    {"messages": [{"role": "user", "content": "..."}]}                  Format B: a prompt

A prompt is one user message, with at most one system message before it: managed jobs take nothing else.
What else a row carries (a ground truth, an ID) stays beside, for evaluators.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from preference.formats_labels import NOTE, as_chosen_rejected, is_labelled

Kind = Literal["pairs", "prompts"]
Json = dict[str, Any]
Sides = tuple[list[Json], list[Json], list[Json]]  # prompt, chosen, rejected

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant",
    "bot": "assistant", "model": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_call": "tool",
}  # fmt: skip
PROMPT_COLUMNS = ("prompt", "question", "instruction", "query")
DIALOGUE_COLUMNS = ("messages", "conversations", "conversation")
ANSWER_COLUMNS = ("completion", "response", "output", "answer")
API_FIELDS = frozenset({"input", "messages", "tools", "preferred_output", "non_preferred_output"})
_TURN = re.compile(r"\n\n(Human|Assistant):")
_STRIPPED_TURN = re.compile(r"Human:.*?\n\nAssistant:", re.DOTALL)
_MESSAGE_FIELDS = frozenset({"role", "content", "from", "value", "tool_calls"})
WANTED = (
    "Format A (input.messages, preferred_output, non_preferred_output), Format B (messages), "
    "or a known shape: prompt/chosen/rejected, output_1/output_2/label, conversations, turns, prompt, question, "
    "instruction"
)


class RowFault(Exception):
    """The row is not what it should be; a person has to mend the file."""

    def __init__(self, field: str, kind: str, found: str, wanted: str) -> None:
        super().__init__(f"{field}: {kind}; found {found}, wanted {wanted}")
        self.field, self.kind, self.found, self.wanted = field, kind, found, wanted


class RowDropped(Exception):
    """The row is sound, and of no use here: args[0] is the rule it fell under."""


@dataclass(slots=True)
class Row:
    """A canonical row: the text fields are what hashes and counts are taken of."""

    kind: Kind
    value: Json
    prompt: str
    chosen: str = ""
    rejected: str = ""
    tools: str = ""
    extra: bool = False  # it carries fields that the API does not know
    conversions: list[str] = field(default_factory=list)


def too_long(size: int, limit: int) -> RowFault:
    return RowFault("row", "row too long", f"{size:,} bytes", f"at most {limit:,} bytes a row")


def convert(value: Any) -> Row:
    """The canonical form of any row that is known here. Raises RowFault or RowDropped."""
    if not isinstance(value, dict):
        raise RowFault("row", "not an object", shown(value), "a JSON object")
    row = _convert(value, [])
    if row.extra:
        row.conversions.append("fields the API does not know kept for evaluators")
    return row


def _convert(value: Json, notes: list[str]) -> Row:
    if _has(value, "preferred_output") or _has(value, "non_preferred_output"):
        return _from_format_a(value, notes)
    if is_labelled(value):
        notes.append(NOTE)
        if (labelled := as_chosen_rejected(value)) is None:
            raise RowDropped("the label names neither output")
        return _from_chosen_rejected(labelled, notes)
    if _has(value, "chosen") or _has(value, "rejected"):
        return _from_chosen_rejected(value, notes)
    return _from_prompt(value, notes)


def _has(value: Json, key: str) -> bool:
    return value.get(key) is not None


def _from_format_a(value: Json, notes: list[str]) -> Row:
    source = value.get("input")
    if isinstance(source, dict):
        messages, tools = source.get("messages"), source.get("tools")
        ignored = [key for key in source if key not in ("messages", "tools")]
        if any(source[key] is not None for key in ignored):
            notes.append("input fields the API does not take removed")
    elif source is None and _has(value, "messages"):
        messages, tools = value["messages"], value.get("tools")
        notes.append("messages moved into input")
    else:
        raise RowFault(
            "input",
            "missing" if source is None else "not an object",
            shown(source),
            "an object with messages",
        )
    prompt = _messages(messages, "input.messages", notes)
    chosen = _answers(value.get("preferred_output"), "preferred_output", notes)
    rejected = _answers(value.get("non_preferred_output"), "non_preferred_output", notes)
    extra = _extra(value, {"input", "preferred_output", "non_preferred_output", "messages", "tools"})
    return _pair(prompt, chosen, rejected, tools, extra, notes)


def _from_chosen_rejected(value: Json, notes: list[str]) -> Row:
    """TRL's explicit and implicit preference rows, dialogues as text, ShareGPT's and OpenAI-like ones."""
    for key in ("chosen", "rejected"):
        if not _has(value, key):
            raise RowFault(key, "missing", shown(value.get(key)), f"an answer, as there is one in {_other(key)}")
    used = {"chosen", "rejected"}
    prompt = _prompt_of(value, used, notes)
    chosen, rejected = (_parsed(value[key], notes) for key in ("chosen", "rejected"))
    if isinstance(chosen, str) and isinstance(rejected, str):
        notes.append("chosen and rejected text put into messages")
        sides = _text_sides(prompt, chosen, rejected, notes)
    else:
        notes.append("chosen and rejected messages put into input and outputs")
        sides = _message_sides(prompt, chosen, rejected, notes)
    if any(_has(value, key) for key in API_FIELDS - used - {"tools"}):
        notes.append("fields named as the API's, beside chosen and rejected, removed")
    return _pair(*sides, value.get("tools"), _extra(value, used | {"tools"}), notes)


def _other(key: str) -> str:
    return "rejected" if key == "chosen" else "chosen"


def _text_sides(prompt: list[Json], chosen: str, rejected: str, notes: list[str]) -> Sides:
    if _STRIPPED_TURN.match(chosen) and _STRIPPED_TURN.match(rejected):  # somebody stripped the files
        chosen, rejected = f"\n\n{chosen}", f"\n\n{rejected}"
    if _TURN.match(chosen) or _TURN.match(rejected):
        one, other = _dialogue(chosen, "chosen"), _dialogue(rejected, "rejected")
        notes.append("dialogue text cut into messages")
        return _split_sides(prompt, one, other, notes)
    if not prompt:
        shared = _shared_prefix(chosen, rejected)
        if not shared.strip():
            raise RowDropped("no prompt")
        notes.append("prompt taken from what chosen and rejected share")
        prompt, chosen, rejected = [_user(shared.strip())], chosen[len(shared) :], rejected[len(shared) :]
    return prompt, [_assistant(chosen)], [_assistant(rejected)]


def _shared_prefix(one: str, other: str) -> str:
    """As TRL's extract_prompt: up to the first difference, and back to before the space there."""
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[: length - 1] if length and one[length - 1] == " " else one[:length]


def _message_sides(prompt: list[Json], chosen: Any, rejected: Any, notes: list[str]) -> Sides:
    one, other = _side(chosen, "chosen", notes), _side(rejected, "rejected", notes)
    return _split_sides(prompt, one, other, notes)


def _side(value: Any, name: str, notes: list[str]) -> list[Json]:
    if isinstance(value, dict) and "messages" in value:
        return _messages(value["messages"], f"{name}.messages", notes)
    if isinstance(value, dict):
        return _messages([value], name, notes)
    if isinstance(value, str):
        return [_assistant(value)]
    return _messages(value, name, notes)


def _split_sides(prompt: list[Json], one: list[Json], other: list[Json], notes: list[str]) -> Sides:
    """Each side may be the answer alone, or the whole dialogue up to it.

    What both dialogues hold is the prompt, whatever a prompt column says: it often lacks the system message.
    """
    head, other_head = one[:-1] or prompt, other[:-1] or prompt
    if _texts(head) != _texts(other_head):
        raise RowDropped("the two prompts differ")
    if prompt and _texts(head)[-1:] != _texts(prompt)[-1:]:
        notes.append("a prompt column that differs from both dialogues' own left out")
    if prompt and prompt[0]["role"] == "system" and head and head[0]["role"] != "system":
        head = [prompt[0], *head]
    return head, one[-1:], other[-1:]


def _texts(messages: list[Json]) -> list[tuple[str, str]]:
    return [(message["role"], message["content"].strip()) for message in messages]


def _prompt_of(value: Json, used: set[str], notes: list[str], first: tuple[str, ...] = ()) -> list[Json]:
    """The prompt of a row in whichever column it stands, [] where there is none."""
    messages: list[Json] = []
    if isinstance(value.get("history"), list) and value["history"]:  # Alpaca's earlier turns
        raise RowDropped("more than one turn")
    last = ("turns", "input") if "chosen" in used else ("turns",)
    column = next((key for key in (*first, *PROMPT_COLUMNS, *DIALOGUE_COLUMNS, *last) if _has(value, key)), None)
    if column in DIALOGUE_COLUMNS:
        used.add(column)
        if column != "messages":
            notes.append("conversations put into messages")
        messages = _messages(_parsed(value[column], notes), column, notes)
    elif column is not None:
        used.add(column)
        messages = _prompt_column(value, column, used, notes)
    for key in ("system", "system_prompt"):
        if _has(value, key):
            used.add(key)
            if not isinstance(value[key], str):
                raise RowFault(key, "wrong type", shown(value[key]), "text")
            if value[key].strip() and messages and messages[0]["role"] != "system":
                notes.append("system column put into messages")
                messages = [{"role": "system", "content": value[key]}, *messages]
    return messages


def _prompt_column(value: Json, column: str, used: set[str], notes: list[str]) -> list[Json]:
    prompt = _parsed(value[column], notes)
    if column == "turns":
        if not isinstance(prompt, list) or not prompt:
            raise RowFault("turns", "wrong type", shown(prompt), "a list of texts")
        if len(prompt) > 1:
            notes.append("first of several turns taken")
        prompt = prompt[0]
    if isinstance(prompt, list):
        return _messages(prompt, column, notes)
    if isinstance(prompt, dict) and "messages" in prompt:
        return _messages(prompt["messages"], f"{column}.messages", notes)
    if not isinstance(prompt, str):
        raise RowFault(column, "wrong type", shown(prompt), "text or a list of messages")
    if _TURN.match(prompt):
        notes.append("dialogue text cut into messages")
        messages = _dialogue(prompt, column)
        return messages[:-1] if messages[-1] == _assistant("") else messages
    if column == "instruction" and isinstance(value.get("input"), str):
        used.add("input")
        if value["input"].strip():
            notes.append("instruction and input joined")
            prompt = f"{prompt}\n\n{value['input']}"
    return [_user(prompt)]


def _from_prompt(value: Json, notes: list[str]) -> Row:
    used: set[str] = set()
    messages = _prompt_of(value, used, notes, first=DIALOGUE_COLUMNS)
    if not used & {"turns", *DIALOGUE_COLUMNS, *PROMPT_COLUMNS}:
        raise RowFault("row", "unknown shape", f"the fields {shown(list(value))}", WANTED)
    if not used & {*DIALOGUE_COLUMNS}:
        notes.append("prompt column put into messages")
        answers = [key for key in ANSWER_COLUMNS if _has(value, key)]
        used.update(answers)
        if answers:
            notes.append("answer removed from a prompt row")
    if messages and messages[-1]["role"] == "assistant":
        notes.append("answer removed from a prompt row")
        messages = messages[:-1]
    extra = _extra(value, used | {"tools"})
    prompt = _one_turn(messages, notes)
    canonical: Json = {"messages": prompt}
    if tools := _tools(value.get("tools"), notes):
        canonical["tools"] = tools
    tools_text = json.dumps(canonical["tools"]) if "tools" in canonical else ""
    return Row("prompts", canonical | extra, _joined(prompt), tools=tools_text, extra=bool(extra), conversions=notes)


def _pair(
    prompt: list[Json], chosen: list[Json], rejected: list[Json], tools: Any, extra: Json, notes: list[str]
) -> Row:
    prompt = _one_turn(prompt, notes)
    if any(message["role"] != "assistant" for message in (*chosen, *rejected)):
        raise RowDropped("an answer is not the assistant's")
    good, bad = (message["content"] for message in _no_nul([chosen[0], rejected[0]]))
    if not good.strip() or not bad.strip():
        raise RowDropped("empty answer")
    if good.strip() == bad.strip():
        raise RowDropped("chosen equals rejected")
    source: Json = {"messages": prompt}
    if kept := _tools(tools, notes):
        source["tools"] = kept
    value = {
        "input": source,
        "preferred_output": [_assistant(good)],
        "non_preferred_output": [_assistant(bad)],
    }
    tools_text = json.dumps(kept) if kept else ""
    return Row("pairs", value | extra, _joined(prompt), good, bad, tools_text, bool(extra), notes)


def _one_turn(messages: list[Json], notes: list[str]) -> list[Json]:
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
        systems = [{"role": "system", "content": _joined(systems, "\n\n")}]
    if len(rest) > 1:
        notes.append("user messages joined")
        rest = [_user(_joined(rest, "\n\n"))]
    if not rest[0]["content"].strip():
        raise RowDropped("empty prompt")
    if systems and not systems[0]["content"].strip():
        notes.append("empty system message removed")
        systems = []
    return _no_nul([*systems, *rest])


def _no_nul(messages: list[Json]) -> list[Json]:
    if any("\0" in message["content"] for message in messages):
        raise RowDropped("NUL character in a text")
    return messages


def _messages(value: Any, name: str, notes: list[str]) -> list[Json]:
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


def _parsed(value: Any, notes: list[str]) -> Any:
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


def _answers(value: Any, name: str, notes: list[str]) -> list[Json]:
    if isinstance(value, str):
        _note(notes, "answer text put into a message")
        return [_assistant(value)]
    if isinstance(value, dict):
        _note(notes, "answer put into a list")
        value = [value]
    messages = _messages(value, name, notes)
    if len(messages) > 1:
        raise RowDropped("more than one answer message")
    return messages


def _tools(value: Any, notes: list[str]) -> list[Any]:
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


def _dialogue(text: str, name: str) -> list[Json]:
    r"""'\n\nHuman: a\n\nAssistant: b' as messages (hh-rlhf)."""
    if not _TURN.match(text):
        raise RowFault(
            name, "not a dialogue", shown(text), "text that starts with '\\n\\nHuman:' as its other side does"
        )
    _, *parts = _TURN.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]


def _joined(messages: list[Json], by: str = "\n") -> str:
    return by.join(message["content"] for message in messages)


def _user(content: str) -> Json:
    return {"role": "user", "content": content}


def _assistant(content: str) -> Json:
    return {"role": "assistant", "content": content}


def _extra(value: Json, used: set[str]) -> Json:
    return {key: kept for key, kept in value.items() if key not in used and key not in API_FIELDS and kept is not None}


def _note(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)


def shown(value: Any, limit: int = 80) -> str:
    """A value as a fault quotes it: short, on one line; never a whole row, which may be private."""
    if value is None:
        return "nothing"
    text = repr(value).replace("\n", "\\n")
    if isinstance(value, (str, list, dict)) and len(text) > limit:
        return f"{text[:limit]}… ({type(value).__name__} of {len(value):,})"
    return text
