"""Which prompts are nearly the same: groups that a split must not cut in two.

Two prompts are near where the sets of their 5-character shingles, after normalising, have a Jaccard similarity
of at least 0.8: the same text but for a few characters in a sentence, or a few words in a paragraph. That must hold
for what the user says, and for the whole prompt: else a system prompt that all rows share would make strangers alike
("Tell me about tea." and "Tell me about silk." under "You are a helpful assistant."). Groups are what such pairs
connect. MinHash finds the candidates (16 bands of 6: a pair at 0.8 is missed in 1 % of cases,
one at 0.9 practically never), and the texts themselves decide.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Self
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import orjson

from preference.fingerprints import normalise, prompt_text
from preference.row_index import Hashes, RowIndex, group_hashes

THRESHOLD = 0.8
SHINGLE_CHARS = 5
_BANDS, _BAND_ROWS = 16, 6
_SEED = 20070313
_BATCH_ROWS = 4096
_REPRESENTATIVES = 8  # of one bucket: what a member is compared with
_FRUITLESS = 256  # members in a row that are near to none of them: the bucket holds a phrase, not copies
_BASE = np.uint64(0x9E3779B97F4A7C15)

Shingles = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class NearGroups:
    """Distinct prompts in ascending order, and for each one the number of the first prompt of its group."""

    prompts: Hashes  # (n_prompts,)
    first: npt.NDArray[np.int64]  # (n_prompts,)

    @property
    def n_near(self) -> int:
        """Prompts that could go without losing a group."""
        return len(self.prompts) - len(np.unique(self.first))

    def part(self, chosen: npt.NDArray[np.int64]) -> NearGroups:
        """The groups of some of the prompts, given by ascending numbers: all members of a group, or none."""
        return NearGroups(self.prompts[chosen], np.searchsorted(chosen, self.first[chosen]))


def find_groups(*files: Path) -> NearGroups:
    """Near-duplicate groups over the distinct prompts of canonical files, the same in any order of rows."""
    indexes = [RowIndex.load(path) for path in files]
    if len(files) == 1 and (saved := _load(files[0], indexes[0])) is not None:
        return saved
    distinct = group_hashes(np.concatenate([index.prompts for index in indexes]))
    places = np.concatenate(
        [
            np.column_stack([np.full(len(index), at), index.offsets[:-1], index.offsets[1:]])
            for at, index in enumerate(indexes)
        ]
    )
    with _Texts(files, places[distinct.first]) as texts:
        groups = NearGroups(distinct.distinct, _connect(texts, len(distinct.first)))
    if len(files) == 1:
        save_groups(files[0], groups)
    return groups


def alone(distinct: Hashes) -> NearGroups:
    """Every prompt its own group: only prompts that are equal go together."""
    return NearGroups(distinct, np.arange(len(distinct)))


def save_groups(path: Path, groups: NearGroups) -> None:
    """Beside the canonical file that they are of, or of a part of it that holds whole groups."""
    target = _groups_path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez(file, prompts=groups.prompts, first=groups.first)
    part.replace(target)


def _groups_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.near.npz")


def _load(path: Path, index: RowIndex) -> NearGroups | None:
    try:
        with np.load(_groups_path(path)) as saved:
            groups = NearGroups(saved["prompts"], saved["first"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    return groups if np.array_equal(group_hashes(index.prompts).distinct, groups.prompts) else None


class _Texts:
    """Normalised user messages by their prompt's number, read from the files when they are needed."""

    def __init__(self, files: Sequence[Path], places: npt.NDArray[np.int64]) -> None:
        self._paths, self._places = files, places
        self._files: list[BinaryIO] = []
        self.shingles = lru_cache(maxsize=4096)(self._shingles)

    def __enter__(self) -> Self:
        self._files = [path.open("rb") for path in self._paths]
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()

    def read(self, i: int) -> str:
        return normalise(str(self._messages(i)[-1]["content"]))

    def _messages(self, i: int) -> list[dict[str, Any]]:
        at, start, end = self._places[i].tolist()
        row = orjson.loads(os.pread(self._files[at].fileno(), end - start, start))
        messages: list[dict[str, Any]] = row.get("input", row)["messages"]
        return messages

    def batches(self) -> Iterator[list[str]]:
        for start in range(0, len(self._places), _BATCH_ROWS):
            yield [self.read(i) for i in range(start, min(start + _BATCH_ROWS, len(self._places)))]

    def _shingles(self, i: int) -> tuple[Shingles, Shingles]:
        """Of what the user says, and of the whole prompt: the same array where there is no system prompt."""
        messages = self._messages(i)
        said = _shingle_set(normalise(str(messages[-1]["content"])))
        return said, said if len(messages) == 1 else _shingle_set(normalise(prompt_text(messages)))

    def near(self, i: int, j: int) -> bool:
        (said, whole), (other_said, other_whole) = self.shingles(i), self.shingles(j)
        if not _alike(said, other_said):
            return False
        return (whole is said and other_whole is other_said) or _alike(whole, other_whole)


def _shingle_set(text: str) -> Shingles:
    return np.unique(_hash_shingles([text])[0])


def _alike(one: Shingles, other: Shingles) -> bool:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared >= THRESHOLD * (len(one) + len(other) - shared)


def _hash_shingles(texts: Sequence[str]) -> tuple[Shingles, npt.NDArray[np.uint64]]:
    """Hashes of every text's shingles in one array, and where each text's begin: (n_texts + 1,).

    A text shorter than a shingle is filled up with spaces.
    """
    padded = [text.ljust(SHINGLE_CHARS) for text in texts]
    chars = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    rolled = np.zeros(len(chars) - SHINGLE_CHARS + 1, dtype=np.uint64)
    for i in range(SHINGLE_CHARS):
        rolled = rolled * _BASE + chars[i : i + len(rolled)]
    rolled ^= rolled >> np.uint64(29)
    lengths = np.array([len(text) for text in padded])
    ends = np.cumsum(lengths)
    inside = np.ones(len(chars), dtype=np.bool_)
    for back in range(1, SHINGLE_CHARS):
        inside[ends - back] = False  # these would run over into the next text
    offsets = np.concatenate([[0], np.cumsum(lengths - SHINGLE_CHARS + 1)]).astype(np.uint64)
    return rolled[inside[: len(rolled)]] * _BASE, offsets


def _connect(texts: _Texts, n: int) -> npt.NDArray[np.int64]:
    """The number of the first prompt of each prompt's group."""
    parents = np.arange(n, dtype=np.int64)
    with tempfile.TemporaryFile() as file:
        for batch in texts.batches():
            file.write(_bands(batch).tobytes())
        for band in range(_BANDS):
            for bucket in _buckets(file, band, n):
                _join(bucket, parents, texts)
    return np.array([_root(parents, i) for i in range(n)], dtype=np.int64)


def _bands(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    """(n_texts, bands): equal where a band of two signatures is equal."""
    from rensa import RMinHash  # a Rust library that nothing else needs

    hashes, offsets = _hash_shingles(texts)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, _BANDS * _BAND_ROWS, _SEED)
    slots = np.array(matrix.to_rows(), dtype=np.uint64).reshape(len(texts), _BANDS, _BAND_ROWS)
    bands = np.zeros((len(texts), _BANDS), dtype=np.uint64)
    for i in range(_BAND_ROWS):
        bands = (bands ^ slots[:, :, i]) * _BASE
        bands ^= bands >> np.uint64(31)
    return bands


def _buckets(file: BinaryIO, band: int, n: int) -> Iterator[list[int]]:
    """Numbers of prompts that are equal in a band, two or more at a time, in ascending order."""
    column = np.empty(n, dtype=np.uint64)
    file.seek(0)
    for start in range(0, n, _BATCH_ROWS):
        size = min(_BATCH_ROWS, n - start)
        block = np.frombuffer(file.read(size * _BANDS * 8), dtype=np.uint64)
        column[start : start + size] = block.reshape(size, _BANDS)[:, band]
    order = np.argsort(column, kind="stable")
    ordered = column[order]
    edges = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    for at in np.flatnonzero(np.diff(edges) > 1):
        yield order[edges[at] : edges[at + 1]].tolist()


def _join(bucket: list[int], parents: npt.NDArray[np.int64], texts: _Texts) -> None:
    """Connect the members of a bucket that are near; each is compared with at most 8 that are not."""
    heads: list[int] = []
    fruitless = 0
    for member in bucket:
        root = _root(parents, member)
        for head in heads:
            other = _root(parents, head)
            if root == other:
                fruitless = 0
                break
            if texts.near(member, head):
                parents[max(root, other)] = min(root, other)
                fruitless = 0
                break
        else:
            if len(heads) < _REPRESENTATIVES:
                heads.append(member)
            elif (fruitless := fruitless + 1) == _FRUITLESS:
                return


def _root(parents: npt.NDArray[np.int64], i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = int(parents[i])
    return i
