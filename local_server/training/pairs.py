"""Preference pairs from the API's JSONL into the columns that TRL trains on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from local_server.training.job import TrainingFault

Messages = list[dict[str, Any]]


def read_pairs(path: Path) -> list[dict[str, Any]]:
    """A dict a pair: prompt, chosen, rejected (messages each), and tools where the row has any.

    Raises TrainingFault with the first bad row's line number.
    """
    if not path.is_file():
        raise TrainingFault(f"the dataset's file {path.name} is not there. Upload the dataset again.")
    pairs = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    pairs.append(_pair(json.loads(line)))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise TrainingFault(
                        f"line {number} of the dataset is not a preference pair ({error!r}). Expected "
                        '{"input": {"messages": [...]}, "preferred_output": [...], '
                        '"non_preferred_output": [...]}.'
                    ) from error
    if not pairs:
        raise TrainingFault("the dataset has no pairs. Upload at least 3.")
    return pairs


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    pair: dict[str, Any] = {
        "prompt": [_plain(message) for message in row["input"]["messages"]],
        "chosen": [_plain(message) for message in row["preferred_output"]],
        "rejected": [_plain(message) for message in row["non_preferred_output"]],
    }
    if empty := [name for name, messages in pair.items() if not messages]:
        raise ValueError(f"{empty[0]} has no messages")
    if tools := row["input"].get("tools"):
        pair["tools"] = json.dumps(tools)  # one type a column, whatever the tools look like
    return pair


def _plain(message: dict[str, Any]) -> dict[str, str]:
    """role and content alone, content as text: parts are joined."""
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "".join(part.get("text", "") for part in content)
    return {"role": message["role"], "content": content}


def refuse_long_pairs(lengths: list[int], limit: int) -> None:
    """Raise TrainingFault where a pair exceeds the limit: cut short, its preference might be another one.

    lengths: tokens of each pair's longer side, prompt and chat template included.
    """
    long = [n for n in lengths if n > limit]
    if long:
        longest = lengths.index(max(long))
        raise TrainingFault(
            f"{len(long)} of {len(lengths)} pairs are longer than the context of {limit} tokens; the "
            "longest, pair "
            f"{longest + 1}, has {lengths[longest]}. Raise maxContextLength, or drop or shorten those pairs."
        )
