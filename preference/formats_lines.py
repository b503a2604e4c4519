"""Lines of a file in blocks of a bounded size: whole lines together, for those who read them by the thousand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from preference.formats_rows import RowFault, too_long

BOM = b"\xef\xbb\xbf"
BLOCK_BYTES = 1 << 16  # what a processor's own cache holds: a block is read, parsed and hashed


def read_lines(file: IO[bytes], limit: int, size: int | None = None) -> Iterator[list[bytes] | RowFault]:
    """Lines, their newlines included, by the block; only the file's last one may lack it.

    A line of more than limit bytes is passed over, not held, and given as a fault.
    size: how many bytes to read; they end where a line does.
    """
    if size is not None and size <= limit:  # then no line is too long, and blocks can be had whole
        while size > 0 and (lines := _read_block(file, min(size, BLOCK_BYTES))):
            size -= sum(map(len, lines))
            yield lines
        return
    left, block, held = size, [], 0
    while (left is None or left > 0) and (line := file.readline(limit + 1)):
        fault = None
        length = len(line)
        if length > limit and not line.endswith(b"\n"):
            length += _skip_line(file)
            fault = too_long(length, limit)
        else:
            block.append(line)
            held += length
        if left is not None:
            left -= length
        if block and (fault or held >= BLOCK_BYTES):
            yield block
            block, held = [], 0
        if fault:
            yield fault
    if block:
        yield block


def _read_block(file: IO[bytes], size: int) -> list[bytes]:
    """Lines until they are at least size bytes; readlines stops at more than its hint, and takes 0 for none."""
    return file.readlines(size - 1) if size > 1 else [file.readline()]


def _skip_line(file: IO[bytes]) -> int:
    skipped = 0
    while piece := file.readline(BLOCK_BYTES):
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
        while piece := file.read(BLOCK_BYTES):
            if (at := piece.find(b"\n")) >= 0:
                end = file.tell() - len(piece) + at + 1
                break
        else:
            end = size
        yield start, end
        start = end
