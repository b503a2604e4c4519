"""A file in blocks of whole lines, of a bounded size: for those who look at lines by the thousand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from preference.formats_faults import RowFault, too_long

BOM = b"\xef\xbb\xbf"
READ_AHEAD_BYTES = 1 << 16
BLOCK_BYTES = 1 << 20  # enough rows that a call for all of them costs each one little


def read_blocks(file: IO[bytes], limit: int, size: int | None = None) -> Iterator[bytes | RowFault]:
    """Whole lines, their newlines included; only the file's last one may lack it.

    A line of more than limit bytes is passed over, not held, and given as a fault.
    size: how many bytes to read; they end where a line does.
    """
    at_once, left = min(BLOCK_BYTES, limit), size
    while block := file.read(at_once if left is None else min(at_once, left)):
        if not block.endswith(b"\n"):
            block += file.readline(limit + 1)
        start = block.rfind(b"\n", 0, -1) + 1  # of the last line: the only one that may be longer than what was read
        n_read = len(block)
        whole = block.endswith(b"\n")
        if n_read - start > limit + whole:
            n_read += 0 if whole else _skip_line(file)
            if start:
                yield block[:start]
            yield too_long(n_read - start, limit)
        else:
            yield block
        if left is not None:
            left -= n_read


def _skip_line(file: IO[bytes]) -> int:
    skipped = 0
    while piece := file.readline(READ_AHEAD_BYTES):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def find_parts(file: IO[bytes], part_bytes: int) -> Iterator[tuple[int, int]]:
    """Starts and ends of parts of about a size that end where lines do."""
    file.seek(0, 2)
    size, start = file.tell(), 0
    while start < size:
        file.seek(min(start + part_bytes, size))
        while piece := file.read(READ_AHEAD_BYTES):
            if (at := piece.find(b"\n")) >= 0:
                end = file.tell() - len(piece) + at + 1
                break
        else:
            end = size
        yield start, end
        start = end
