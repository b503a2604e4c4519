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

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from preference.formats_faults import RowDropped, RowFault, shown
from preference.formats_labels import NOTE, as_chosen_rejected, is_labelled
from preference.formats_messages import (
    TURN,
    Json,
    assistant,
    cut_dialogue,
    joined,
    no_nul,
    one_turn,
    parsed,
    read_answers,
    read_messages,
    read_tools,
    user,
)

Kind = Literal["pairs", "prompts"]
Sides = tuple[list[Json], list[Json], list[Json]]  # prompt, chosen, rejected

PROMPT_COLUMNS = ("prompt", "question", "instruction", "query")
DIALOGUE_COLUMNS = ("messages", "conversations", "conversation")
ANSWER_COLUMNS = ("completion", "response", "output", "answer")
API_FIELDS = frozenset({"input", "messages", "tools", "preferred_output", "non_preferred_output"})
_STRIPPED_TURN = re.compile(r"Human:.*?\n\nAssistant:", re.DOTALL)
WANTED = (
    "Format A (input.messages, preferred_output, non_preferred_output), Format B (messages), "
    "or a known shape: prompt/chosen/rejected, output_1/output_2/label, conversations, turns, prompt, question, "
    "instruction"
)


@dataclass(slots=True)
class Row:
    """A canonical row."""

    kind: Kind
    value: Json
    prompt: str  # its messages, joined
    extra: bool = False  # it carries fields that the API does not know
    conversions: list[str] = field(default_factory=list)


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
    prompt = read_messages(messages, "input.messages", notes)
    chosen = read_answers(value.get("preferred_output"), "preferred_output", notes)
    rejected = read_answers(value.get("non_preferred_output"), "non_preferred_output", notes)
    extra = _extra(value, {"input", "preferred_output", "non_preferred_output", "messages", "tools"})
    return _pair(prompt, chosen, rejected, tools, extra, notes)


def _from_chosen_rejected(value: Json, notes: list[str]) -> Row:
    """TRL's explicit and implicit preference rows, dialogues as text, ShareGPT's and OpenAI-like ones."""
    for key in ("chosen", "rejected"):
        if not _has(value, key):
            raise RowFault(key, "missing", shown(value.get(key)), f"an answer, as there is one in {_other(key)}")
    used = {"chosen", "rejected"}
    prompt = _prompt_of(value, used, notes)
    chosen, rejected = (parsed(value[key], notes) for key in ("chosen", "rejected"))
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
    if TURN.match(chosen) or TURN.match(rejected):
        one, other = cut_dialogue(chosen, "chosen"), cut_dialogue(rejected, "rejected")
        notes.append("dialogue text cut into messages")
        return _split_sides(prompt, one, other, notes)
    if not prompt:
        shared = _shared_prefix(chosen, rejected)
        if not shared.strip():
            raise RowDropped("no prompt")
        notes.append("prompt taken from what chosen and rejected share")
        prompt, chosen, rejected = [user(shared.strip())], chosen[len(shared) :], rejected[len(shared) :]
    return prompt, [assistant(chosen)], [assistant(rejected)]


def _shared_prefix(one: str, other: str) -> str:
    """As TRL's extract_prompt: up to the first difference, and back to before the space there."""
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[: length - 1] if length and one[length - 1] == " " else one[:length]


def _message_sides(prompt: list[Json], chosen: Any, rejected: Any, notes: list[str]) -> Sides:
    one, other = _side(chosen, "chosen", notes), _side(rejected, "rejected", notes)
    return _split_sides(prompt, one, other, notes)


def _side(value: Any, name: str, notes: list[str]) -> list[Json]:
    if isinstance(value, dict) and "messages" in value:
        return read_messages(value["messages"], f"{name}.messages", notes)
    if isinstance(value, dict):
        return read_messages([value], name, notes)
    if isinstance(value, str):
        return [assistant(value)]
    return read_messages(value, name, notes)


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
        messages = read_messages(parsed(value[column], notes), column, notes)
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
    prompt = parsed(value[column], notes)
    if column == "turns":
        if not isinstance(prompt, list) or not prompt:
            raise RowFault("turns", "wrong type", shown(prompt), "a list of texts")
        if len(prompt) > 1:
            notes.append("first of several turns taken")
        prompt = prompt[0]
    if isinstance(prompt, list):
        return read_messages(prompt, column, notes)
    if isinstance(prompt, dict) and "messages" in prompt:
        return read_messages(prompt["messages"], f"{column}.messages", notes)
    if not isinstance(prompt, str):
        raise RowFault(column, "wrong type", shown(prompt), "text or a list of messages")
    if TURN.match(prompt):
        notes.append("dialogue text cut into messages")
        messages = cut_dialogue(prompt, column)
        return messages[:-1] if messages[-1] == assistant("") else messages
    if column == "instruction" and isinstance(value.get("input"), str):
        used.add("input")
        if value["input"].strip():
            notes.append("instruction and input joined")
            prompt = f"{prompt}\n\n{value['input']}"
    return [user(prompt)]


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
    prompt = one_turn(messages, notes)
    canonical: Json = {"messages": prompt}
    if tools := read_tools(value.get("tools"), notes):
        canonical["tools"] = tools
    return Row("prompts", canonical | extra, joined(prompt), bool(extra), notes)


def _pair(
    prompt: list[Json], chosen: list[Json], rejected: list[Json], tools: Any, extra: Json, notes: list[str]
) -> Row:
    prompt = one_turn(prompt, notes)
    if any(message["role"] != "assistant" for message in (*chosen, *rejected)):
        raise RowDropped("an answer is not the assistant's")
    good, bad = (message["content"] for message in no_nul([chosen[0], rejected[0]]))
    if not good.strip() or not bad.strip():
        raise RowDropped("empty answer")
    if good.strip() == bad.strip():
        raise RowDropped("chosen equals rejected")
    source: Json = {"messages": prompt}
    if kept := read_tools(tools, notes):
        source["tools"] = kept
    value = {
        "input": source,
        "preferred_output": [assistant(good)],
        "non_preferred_output": [assistant(bad)],
    }
    return Row("pairs", value | extra, joined(prompt), bool(extra), notes)


def _extra(value: Json, used: set[str]) -> Json:
    return {key: kept for key, kept in value.items() if key not in used and key not in API_FIELDS and kept is not None}
