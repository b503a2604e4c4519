"""Training and held-out rows with no prompt on both sides, the same on every machine and in any row order.

Distinct prompts are sorted by their hash and cut: the first share of them trains, the rest is held out.
Prompts that are nearly the same form a group that stays on one side. Only hashes are held in memory; rows are
copied as bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel

from preference.fingerprints import HASH_BYTES, prompt_id
from preference.formats import BadDataset, atomic_file
from preference.formats_rows import API_FIELDS
from preference.near import NearGroups, alone, find_groups, save_groups
from preference.row_index import Hashes, RowIndex, group_hashes
from preference.wire import MAX_EXAMPLES

MIN_TRAIN_ROWS, MAX_TRAIN_ROWS = 3, MAX_EXAMPLES  # the API's own
MIN_HELD_OUT_PROMPTS = 3
WINDOW_BYTES = 8 << 20  # a multiple of any page
LINES_NAMED = 20
MIN_CONFIRMED_PROMPTS = 12  # held-out prompts under which there is no confirmation half

Mask = npt.NDArray[np.bool_]


class Split(BaseModel):
    """What went where, and what was left out."""

    train: Path
    held_out: Path
    share: float | None  # of prompts that was asked for in train; None where two files were given
    n_train_rows: int
    n_train_prompts: int
    n_held_out_rows: int
    n_held_out_prompts: int
    n_duplicates: int  # exact duplicates of an earlier row, left out
    n_near_duplicates: int | None  # prompts beyond the first of each group; None where groups were not looked for
    n_leaks: int = 0  # training rows whose prompts are held out; left out unless they were to be kept
    n_near_leaks: int = 0  # training rows whose prompts are nearly the same as held-out ones, likewise
    leak_lines: list[int] = []  # the first of both, as lines of the training source
    leaks_kept: bool = False
    has_confirmation: bool  # under 12 held-out prompts there is no confirmation half

    def notes(self) -> list[str]:
        """What was left out on the way into the two sides, for the plan that a human approves."""
        notes = [f"{self.n_duplicates:,} rows left out: exact copies of an earlier row"] if self.n_duplicates else []
        if self.n_leaks or self.n_near_leaks:
            lines = ", ".join(map(str, self.leak_lines))
            done = "KEPT, as you asked" if self.leaks_kept else "left out of training"
            notes.append(
                f"{self.n_leaks + self.n_near_leaks:,} training rows have held-out prompts ({self.n_leaks:,} exactly, "
                f"{self.n_near_leaks:,} nearly; lines {lines}): {done}"
            )
        return notes


@dataclass(frozen=True, slots=True)
class HeldOutPrompt:
    """A distinct prompt to sample and judge on."""

    prompt_id: str  # 32 hex digits
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    row: dict[str, Any]  # the canonical row, with what evaluators may need beside


def split(canonical: Path, *, train: Path, held_out: Path, share: float = 0.8, near_duplicates: bool = True) -> Split:
    """Cut one staged dataset by distinct prompt. Raises BadDataset where a side would be too small.

    near_duplicates: keep groups of prompts that are nearly the same whole; the cut is then exact to one group.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; the training share of the prompts must lie between 0 and 1.")
    index = RowIndex.load(canonical)
    distinct = group_hashes(index.prompts)
    groups = find_groups(canonical) if near_duplicates else alone(distinct.distinct)
    numbers = distinct.inverse
    first, trains = _first_of_each(index.rows), _cut(groups, share)[numbers]
    sides = (
        _Side(canonical, index, numbers, trains & first, train, strip=True),
        _Side(canonical, index, numbers, ~trains & first, held_out, strip=False),
    )
    sizes = _write(sides, groups, near_duplicates)
    return Split(
        train=train,
        held_out=held_out,
        share=share,
        n_duplicates=int((~first).sum()),
        n_near_duplicates=groups.n_near if near_duplicates else None,
        **sizes,
    )


def pair_up(
    train_source: Path,
    held_out_source: Path,
    *,
    train: Path,
    held_out: Path,
    near_duplicates: bool = True,
    keep_leaks: bool = False,
) -> Split:
    """Use two staged datasets as given, but for training rows whose prompts are held out, exactly or nearly."""
    ours, theirs = RowIndex.load(train_source), RowIndex.load(held_out_source)
    distinct = group_hashes(np.concatenate([ours.prompts, theirs.prompts]))
    groups = find_groups(train_source, held_out_source) if near_duplicates else alone(distinct.distinct)
    our_numbers, their_numbers = np.split(distinct.inverse, [len(ours)])
    exact = np.isin(our_numbers, their_numbers)
    leaks = np.isin(groups.first[our_numbers], groups.first[their_numbers])
    kept, held = _first_of_each(ours.rows), _first_of_each(theirs.rows)
    sides = (
        _Side(train_source, ours, our_numbers, kept if keep_leaks else kept & ~leaks, train, strip=True),
        _Side(held_out_source, theirs, their_numbers, held, held_out, strip=False),
    )
    sizes = _write(sides, groups, near_duplicates and not keep_leaks)
    return Split(
        train=train,
        held_out=held_out,
        share=None,
        n_duplicates=int((~kept).sum() + (~held).sum()),
        n_near_duplicates=groups.n_near if near_duplicates else None,
        n_leaks=int((exact & kept).sum()),
        n_near_leaks=int((leaks & ~exact & kept).sum()),
        leak_lines=ours.lines[leaks & kept][:LINES_NAMED].tolist(),
        leaks_kept=keep_leaks,
        **sizes,
    )


def halves(held_out: Path) -> tuple[list[str], list[str]]:
    """IDs of the prompts to select on, and of those to confirm the winner on: none under 12 prompts."""
    groups = find_groups(held_out)
    if len(groups.prompts) < MIN_CONFIRMED_PROMPTS:
        return _hex(groups.prompts), []
    selects = _cut(groups, 0.5)
    return _hex(groups.prompts[selects]), _hex(groups.prompts[~selects])


def read_prompts(path: Path) -> Iterator[HeldOutPrompt]:
    """The distinct prompts of a canonical file in their order, each from its first row."""
    seen: set[bytes] = set()
    with path.open("rb") as file:
        for line in file:
            row = orjson.loads(line)
            source = row.get("input", row)
            name = prompt_id(source["messages"])
            if (key := bytes.fromhex(name)) not in seen:
                seen.add(key)
                yield HeldOutPrompt(name, source["messages"], source.get("tools", []), row)


def _first_of_each(hashes: Hashes) -> Mask:
    first = np.zeros(len(hashes), dtype=np.bool_)
    first[group_hashes(hashes).first] = True
    return first


def _cut(groups: NearGroups, share: float) -> Mask:
    """Whether each prompt is in the first groups, sorted by hash, that hold nearest to share of all prompts."""
    names, sizes = np.unique(groups.first, return_counts=True)
    n_first = int(np.argmin(np.abs(np.cumsum(sizes) - share * len(groups.prompts)))) + 1
    return np.asarray(groups.first <= names[n_first - 1])


@dataclass(frozen=True)
class _Side:
    """Some rows of a canonical file, and where they go; strip takes off fields that the API does not know."""

    source: Path
    index: RowIndex
    numbers: npt.NDArray[np.int64]  # (n_rows,): each row's prompt among the distinct ones
    chosen: Mask
    target: Path
    strip: bool

    @property
    def n_rows(self) -> int:
        return int(self.chosen.sum())

    @cached_property
    def prompts(self) -> npt.NDArray[np.int64]:
        """Numbers of its prompts, ascending."""
        found = np.zeros(self.numbers.max(initial=0) + 1, dtype=np.bool_)  # np.unique takes ten times as long
        found[self.numbers[self.chosen]] = True
        return np.flatnonzero(found)


def _write(sides: tuple[_Side, _Side], groups: NearGroups, keep_groups: bool) -> dict[str, Any]:
    """Both files, or neither where one would be too small: their counts by Split's names."""
    train, held = sides
    if train.n_rows < MIN_TRAIN_ROWS or len(held.prompts) < MIN_HELD_OUT_PROMPTS:
        raise BadDataset(
            f"the split leaves {train.n_rows} training rows and {len(held.prompts)} held-out prompts; at least "
            f"{MIN_TRAIN_ROWS} rows and {MIN_HELD_OUT_PROMPTS} distinct prompts are needed. "
            "Add rows, or hold out another share."
        )
    if train.n_rows > MAX_TRAIN_ROWS:
        raise BadDataset(
            f"the split leaves {train.n_rows:,} training rows, and a job takes {MAX_TRAIN_ROWS:,} at most. "
            "Take rows out of the file, or hold out a larger share."
        )
    with ThreadPoolExecutor(2) as threads:  # the system copies without Python's lock
        list(threads.map(_copy_rows, sides))
    for side in sides if keep_groups else ():
        save_groups(side.target, groups.part(side.prompts))
    return {
        "n_train_rows": train.n_rows,
        "n_train_prompts": len(train.prompts),
        "n_held_out_rows": held.n_rows,
        "n_held_out_prompts": len(held.prompts),
        "has_confirmation": len(held.prompts) >= MIN_CONFIRMED_PROMPTS,
    }


def _copy_rows(side: _Side) -> None:
    """The chosen rows in their order, with their index."""
    index, picked = side.index, np.flatnonzero(side.chosen)
    sizes = np.diff(index.offsets)[picked]
    with (
        side.source.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as rows,
        atomic_file(side.target) as out,
    ):
        if side.strip and index.extras[picked].any():
            for at, i in enumerate(picked):
                row = rows[index.offsets[i] : index.offsets[i + 1]]
                if index.extras[i]:
                    row = _strip(row)
                    sizes[at] = len(row)
                out.write(row)
        else:
            _copy_runs(rows, index.offsets, picked, out)
        index.take(picked, sizes, stripped=side.strip).save(side.target)


def _copy_runs(rows: mmap.mmap, offsets: npt.NDArray[np.int64], picked: npt.NDArray[np.intp], out: IO[bytes]) -> None:
    """Neighbouring rows in one write, straight from the file's pages."""
    edges = np.flatnonzero(np.diff(picked, prepend=-2, append=-2) != 1)
    starts, ends = offsets[picked[edges[:-1]]].tolist(), offsets[picked[edges[1:] - 1] + 1].tolist()
    done = 0
    with memoryview(rows) as view:
        for start, end in zip(starts, ends, strict=True):
            out.write(view[start:end])
            if start - done >= WINDOW_BYTES:
                rows.madvise(mmap.MADV_DONTNEED, done, WINDOW_BYTES)  # else the whole file would count as memory
                done += WINDOW_BYTES


def _strip(row: bytes) -> bytes:
    value = orjson.loads(row)
    return orjson.dumps({key: kept for key, kept in value.items() if key in API_FIELDS}) + b"\n"


def _hex(hashes: Hashes) -> list[str]:
    joined, step = hashes.tobytes().hex(), 2 * HASH_BYTES
    return [joined[i : i + step] for i in range(0, len(joined), step)]
