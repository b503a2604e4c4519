"""Tokens that a preference job is billed for, by the base model's own tokenizer."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson

from preference.chat_template import TemplateError
from preference.tokens import EstimatedCounter, TokenizerMissing, counter_for

logger = logging.getLogger("local_server")

_BATCH = 256


class RowCounter(Protocol):
    def count_rows(self, rows: Sequence[dict[str, Any]]) -> list[tuple[int, int, int]]: ...


def billable_tokens_an_epoch(dataset: Path, base_folder: Path) -> int:
    """2·prompt + chosen + rejected over all pairs, as fw-ai/cookbook counts a managed job.

    Where the tokenizer or its template fails, an estimate.
    """
    try:
        return count_billable(dataset, counter_for(base_folder))
    except (TokenizerMissing, TemplateError) as error:
        logger.warning("tokens of %s are estimated: %s", dataset, error)
        return count_billable(dataset, EstimatedCounter())


def count_billable(dataset: Path, counter: RowCounter) -> int:
    """2·prompt + chosen + rejected over all pairs, as this counter counts."""
    total = 0
    rows = _rows(dataset)
    while batch := list(itertools.islice(rows, _BATCH)):
        total += sum(2 * prompt + good + bad for prompt, good, bad in counter.count_rows(batch))
    return total


def _rows(dataset: Path) -> Iterator[dict[str, Any]]:
    with dataset.open("rb") as file:
        for line in file:
            if line.strip():
                row = orjson.loads(line)
                for message in (*row["input"]["messages"], row["preferred_output"][0], row["non_preferred_output"][0]):
                    if isinstance(message["content"], list):  # text parts
                        message["content"] = "".join(part["text"] for part in message["content"])
                yield row
