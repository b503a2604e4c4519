"""What the platform checks in a dataset's rows. Faults name the line.

Kept apart from preference.formats on purpose: that one reads whatever people have, this one judges what arrives.
Rules: docs.fireworks.ai, fine-tuning/dpo-fine-tuning; the validator of fw-ai/cookbook.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from preference.wire import MAX_EXAMPLES

MIN_PREFERENCE_ROWS = 3


class RowFault(ValueError):
    """A row, or their number, that the platform does not take."""


def count_rows(paths: list[Path]) -> int:
    """Non-empty lines over all files, each of which must be a JSON object in UTF-8."""
    return sum(1 for path in paths for _ in _rows(path))


def check_preference_rows(path: Path) -> int:
    """How many rows; raises RowFault for the first that a DPO or ORPO job cannot train on."""
    count = 0
    for line, row in _rows(path):
        if fault := _preference_fault(row):
            raise RowFault(f"line {line}: {fault}")
        count += 1
    if count < MIN_PREFERENCE_ROWS:
        raise RowFault(f"the dataset has {count} rows; at least {MIN_PREFERENCE_ROWS} are required")
    if count > MAX_EXAMPLES:
        raise RowFault(f"the dataset has {count} rows; at most {MAX_EXAMPLES} are allowed")
    return count


def check_examples(n_rows: int, epochs: int) -> None:
    """Raises RowFault for more examples than a job takes, whichever epoch they are seen in."""
    if n_rows * epochs > MAX_EXAMPLES:
        raise RowFault(
            f"{n_rows} rows for {epochs} epochs are {n_rows * epochs} examples; at most {MAX_EXAMPLES} are allowed"
        )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                row = orjson.loads(text)
            except orjson.JSONDecodeError:
                row = _lenient(path, line, text)
            if not isinstance(row, dict):
                raise RowFault(f"{path.name}, line {line}: expected a JSON object, found {type(row).__name__}")
            yield line, row


def _lenient(path: Path, line: int, text: bytes) -> Any:
    """The standard reader: it takes NaN and lone surrogates, and says where a fault is."""
    try:
        return json.loads(text)
    except UnicodeDecodeError:
        raise RowFault(f"{path.name}, line {line}: not UTF-8") from None
    except ValueError as error:
        raise RowFault(f"{path.name}, line {line}: not JSON: {error}") from None
    except RecursionError:
        raise RowFault(f"{path.name}, line {line}: nested too deeply") from None


def _preference_fault(row: dict[str, Any]) -> str | None:
    source = row.get("input")
    if not isinstance(source, dict) or not isinstance(source.get("messages"), list) or not source["messages"]:
        return "input.messages must be a non-empty list of messages"
    if "tools" in source and not isinstance(source["tools"], list | None):
        return "input.tools must be a list"
    messages = source["messages"]
    for index, message in enumerate(messages):
        if fault := _message_fault(message, f"input.messages[{index}]"):
            return fault
    roles = [message["role"] for message in messages]
    if "assistant" in roles:
        return (
            f"input.messages[{roles.index('assistant')}] is an assistant turn; preference tuning is one-turn: "
            "the only assistant messages are preferred_output and non_preferred_output"
        )
    if roles not in (["user"], ["system", "user"]):
        return f"input.messages must be an optional system message and one user message, found {', '.join(roles)}"
    for key in ("preferred_output", "non_preferred_output"):
        if fault := _output_fault(row.get(key), key):
            return fault
    return None


def _output_fault(output: Any, key: str) -> str | None:
    if not isinstance(output, list) or len(output) != 1:
        return f"{key} must be a list of exactly one assistant message"
    if fault := _message_fault(output[0], f"{key}[0]"):
        return fault
    if output[0]["role"] != "assistant":
        return f"{key}[0].role must be assistant, found {output[0]['role']}"
    return None if _text(output[0]["content"]).strip() else f"{key}[0].content is empty"


def _message_fault(message: Any, where: str) -> str | None:
    if not isinstance(message, dict):
        return f"{where} must be an object with role and content"
    if message.get("role") not in ("system", "user", "assistant"):
        return f"{where}.role must be system, user or assistant, found {message.get('role')!r}"
    content = message.get("content")
    parts_ok = isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content
    )
    return None if isinstance(content, str) or parts_ok else f"{where}.content must be text or a list of text parts"


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
