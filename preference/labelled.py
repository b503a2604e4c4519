"""Labelled pairs to try a judge on: as many whose better answer is the shorter as whose better answer is the longer.

On such a set a judge that picks the longer agrees with half of the labels, so that length alone earns nothing.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from preference.fingerprints import prompt_id

MOST_LABELS = 100  # judged in both orders; the interval of 65 % agreement is then ± 10 points
LEAST_LABELS = 12
LEAST_OF_A_KIND = 6
RUBRIC_TRIES = 3
RUBRIC_PAIRS = 8  # shown to the judge that writes a rubric, each time others


class LabelledPair(BaseModel):
    """Two answers to one prompt, of which one was said to be better."""

    prompt_id: str
    messages: list[dict[str, Any]]
    better: str
    worse: str

    @property
    def longer_by(self) -> int:
        """Characters that the better answer has more."""
        return len(self.better) - len(self.worse)


class LabelPool(BaseModel):
    """Labelled pairs by kind, each in an order drawn by hash, with how many there were in all."""

    shorter_better: list[LabelledPair]
    longer_better: list[LabelledPair]
    n_shorter_better: int
    n_longer_better: int

    @property
    def longer_share(self) -> float | None:
        """How often the longer answer is the better one, in all: what picking it would get right there."""
        n = self.n_shorter_better + self.n_longer_better
        return self.n_longer_better / n if n else None


def read_labels(canonical: Path, most: int = MOST_LABELS + RUBRIC_TRIES * RUBRIC_PAIRS) -> LabelPool:
    """The first `most` pairs of each kind of a canonical file, by hash; one a prompt, answers of unequal length."""
    kept: tuple[list[Any], list[Any]] = ([], [])
    counts = [0, 0]
    for key, pair in _keyed_pairs(canonical):
        kind = int(pair.longer_by > 0)
        counts[kind] += 1
        entry = (-key, pair.prompt_id, counts[kind], pair)  # a heap of the smallest keys, the largest on top
        if len(kept[kind]) < most:
            heapq.heappush(kept[kind], entry)
        else:
            heapq.heappushpop(kept[kind], entry)
    shorter, longer = (_one_a_prompt([entry[-1] for entry in sorted(heap, key=lambda e: -e[0])]) for heap in kept)
    return LabelPool(
        shorter_better=shorter, longer_better=longer, n_shorter_better=counts[0], n_longer_better=counts[1]
    )


def holds_pairs(canonical: Path) -> bool:
    """Whether a canonical file has pairs, by its first row: files are of one kind."""
    with canonical.open("rb") as file:
        first = file.readline()
    return bool(first) and "preferred_output" in orjson.loads(first)


def balanced(pool: LabelPool, most: int = MOST_LABELS) -> list[LabelledPair]:
    """As many of one kind as of the other, at most `most`; all of one kind where the other has fewer than six."""
    shorter, longer = pool.shorter_better, pool.longer_better
    fewer = min(len(shorter), len(longer))
    if fewer < LEAST_OF_A_KIND:
        return max(shorter, longer, key=len)[:most]
    share = min(fewer, most // 2)
    return [*shorter[:share], *longer[:share]]


def apart(pool: LabelPool) -> tuple[list[LabelledPair], LabelPool]:
    """Pairs to write a rubric from, and a pool of those that it has not seen."""
    n_tries = RUBRIC_TRIES * RUBRIC_PAIRS
    for_writing, rest = [], []
    for kind in (pool.shorter_better, pool.longer_better):
        cut = min(n_tries // 2 if len(kind) > n_tries else n_tries, len(kind) // 3)
        for_writing.append(kind[:cut])
        rest.append(kind[cut:])
    mixed = [pair for both in _alternating(*for_writing) for pair in both]
    unseen = pool.model_copy(update={"shorter_better": rest[0], "longer_better": rest[1]})
    return mixed[:n_tries], unseen


def sample_for(written_from: Sequence[LabelledPair], attempt: int) -> list[LabelledPair]:
    """The pairs that one attempt shows, attempt counting from 0: others each time, as far as there are others."""
    if not written_from:
        return []
    start = attempt * RUBRIC_PAIRS % len(written_from)
    return [*written_from[start:], *written_from[:start]][:RUBRIC_PAIRS]


def _alternating(one: list[LabelledPair], other: list[LabelledPair]) -> Iterator[list[LabelledPair]]:
    for n in range(max(len(one), len(other))):
        yield [*one[n : n + 1], *other[n : n + 1]]


def _keyed_pairs(canonical: Path) -> Iterator[tuple[int, LabelledPair]]:
    with canonical.open("rb") as file:
        for line in file:
            row = orjson.loads(line)
            if "preferred_output" not in row:
                continue
            better, worse = (_text(row[side]) for side in ("preferred_output", "non_preferred_output"))
            if len(better) == len(worse):
                continue
            messages = row["input"]["messages"]
            pair = LabelledPair(prompt_id=prompt_id(messages), messages=messages, better=better, worse=worse)
            yield int.from_bytes(hashlib.sha256(line.strip()).digest()[:8], "big"), pair


def _text(output: Sequence[dict[str, Any]]) -> str:
    return "\n".join(str(message.get("content") or "") for message in output)


def _one_a_prompt(pairs: Sequence[LabelledPair]) -> list[LabelledPair]:
    first: dict[str, LabelledPair] = {}
    for pair in pairs:
        first.setdefault(pair.prompt_id, pair)
    return list(first.values())
