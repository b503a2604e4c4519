"""A dataset file in, canonical JSONL out: every row checked, every conversion, drop and fault counted.

`stage` is what a run uses; `inspect` reads the same way and does not refuse. Beside the canonical file stands
its row index (`<name>.index.npz`), which the split and the statistics read in place of the rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel

from preference.formats_parallel import PARALLEL_FROM_BYTES, scan_file
from preference.formats_rows import Kind
from preference.formats_scan import FAULTS_IN_FULL, Fault, FileSink, Scan, Tally
from preference.formats_sources import Source, Unit, UnreadableSource, recognise
from preference.row_index import RowIndex
from preference.wire import is_resource_id

__all__ = [
    "BadDataset",
    "Count",
    "Fault",
    "Intake",
    "atomic_file",
    "counts_of",
    "inspect",
    "is_local",
    "local_file",
    "stage",
]


def is_local(source: str) -> bool:
    """Whether a dataset's name is a file's and not the platform's: it exists, or the platform has no such names."""
    return os.path.exists(source) or not (source.startswith("accounts/") or is_resource_id(source))


def local_file(source: str) -> Path:
    """The file that was meant. Raises BadDataset where there is none, which names what else was looked for."""
    path = Path(source)
    if os.path.isdir(source):
        raise BadDataset(
            f"{source or 'the empty name'} is a folder; name one file in it. A dataset of the platform that is called "
            "so can be given by its full name: accounts/<account>/datasets/<ID>."
        )
    if not os.path.exists(source):
        raise BadDataset(
            f"there is no file {source[:200] or repr(source)} (looked in {Path.cwd()}), and no dataset on the platform "
            "is called so. Give the path of a file, or a dataset's ID."
        )
    return path


class Count(BaseModel):
    """How many rows something happened to, and the first lines where it did."""

    n_rows: int
    lines: list[int]


class Intake(BaseModel):
    """What was read, what was done to it and what is wrong with it."""

    source: str
    unit: Unit  # what the numbers of faults, conversions and drops count: lines, or rows where there are none
    kind: Kind | None  # None: no row could be used
    n_read: int
    n_rows: int  # written
    conversions: dict[str, Count]
    drops: dict[str, Count]
    n_faults: int
    faults: list[Fault]  # the first 20
    faults_by_kind: dict[str, int]
    mixed: str | None = None  # said where pairs and prompts stand in one file
    content_hash: str  # of the canonical rows in their order, 32 hex digits

    def notes(self) -> list[str]:
        """What was done to how many rows, for the plan that a human approves."""
        return [
            f"{self.source}: {count.n_rows:,} rows {done}: {what} ({self.unit} {', '.join(map(str, count.lines))}"
            f"{', …' if count.n_rows > len(count.lines) else ''})"
            for done, counts in (("converted", self.conversions), ("dropped", self.drops))
            for what, count in counts.items()
        ]

    @property
    def n_dropped(self) -> int:
        return sum(count.n_rows for count in self.drops.values())


class BadDataset(ValueError):
    """The dataset cannot be used as it is; the message lists what a person has to mend."""

    def __init__(self, message: str, intake: Intake | None = None) -> None:
        super().__init__(message)
        self.intake = intake


def stage(source: Path, target: Path) -> Intake:
    """Write source's rows to target as canonical JSONL, all or nothing; BadDataset says every fault."""
    intake = inspect(source, target)
    if trouble := describe_trouble(intake):
        raise BadDataset(trouble, intake)
    return intake


def inspect(source: Path, target: Path) -> Intake:
    """As stage, and faults are given rather than raised; target is written only where there are none.

    Raises BadDataset where the file as a whole is not a dataset: a web page, a damaged archive, nothing.
    """
    try:
        found = recognise(source)
        with atomic_file(target) as file:
            scan = _scan(found, file)
            index = RowIndex.of(scan)
            intake = _intake(found, scan, index)
            if describe_trouble(intake):
                raise _Discard
            index.save(target)
    except _Discard:
        pass
    except UnreadableSource as error:
        raise BadDataset(str(error)) from None
    return intake


def _scan(source: Source, out: IO[bytes]) -> Scan:
    if source.form == "jsonl" and not source.packed and source.path.stat().st_size >= PARALLEL_FROM_BYTES:
        return scan_file(source.path, out)
    return source.scan(FileSink(out))


class _Discard(Exception):
    """Leaves the target as it was."""


@contextmanager
def atomic_file(target: Path) -> Iterator[Any]:
    """A file that takes target's name only when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb", buffering=1 << 17) as file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _intake(source: Source, scan: Scan, index: RowIndex) -> Intake:
    kinds = scan.kinds
    return Intake(
        source=source.path.name,
        unit=source.unit,
        kind=kinds.most_common(1)[0][0] if kinds else None,
        n_read=scan.n_read,
        n_rows=kinds.total(),
        conversions=counts_of(scan.conversions),
        drops=counts_of(scan.drops),
        n_faults=scan.fault_kinds.total(),
        faults=scan.faults,
        faults_by_kind=dict(scan.fault_kinds),
        mixed=_mixed(scan, source.unit) if len(kinds) > 1 else None,
        content_hash=index.content_hash(),
    )


def counts_of(tally: Tally) -> dict[str, Count]:
    return {kind: Count(n_rows=n, lines=tally.lines[kind]) for kind, n in tally.counts.most_common()}


def _mixed(scan: Scan, unit: Unit) -> str:
    (major, n_major), (minor, n_minor) = scan.kinds.most_common(2)
    names: dict[Kind, str] = {"pairs": "pairs (Format A)", "prompts": "prompts without pairs (Format B)"}
    return (
        f"{n_major:,} rows are {names[major]} and {n_minor:,} are {names[minor]}, "
        f"the first of these on {unit} {scan.first_line[minor]:,}. Put them into two files."
    )


def describe_trouble(intake: Intake) -> str:
    """Why the dataset is refused, "" where it is not."""
    if intake.n_faults:
        parts = [f"{intake.source} has {intake.n_faults:,} faulty rows of {intake.n_read:,}:"]
        parts += [f"  {intake.unit} {fault}" for fault in intake.faults]
        if intake.n_faults > FAULTS_IN_FULL:
            parts.append(f"  ... and {intake.n_faults - FAULTS_IN_FULL:,} more. All by kind:")
            parts += [f"  {n:,} × {kind}" for kind, n in intake.faults_by_kind.items()]
        if intake.mixed:
            parts.append(intake.mixed)
        return "\n".join(parts)
    if intake.mixed:
        return f"{intake.source}: {intake.mixed}"
    if not intake.n_rows:
        why = "; ".join(f"{count.n_rows:,} × {kind}" for kind, count in intake.drops.items())
        return f"{intake.source} has no row that can be used{f'; dropped: {why}' if why else ''}."
    return ""
