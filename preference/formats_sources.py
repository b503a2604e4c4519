"""A dataset file's rows one after another, whatever it is packed in, a bounded piece in memory at a time.

Known are JSON lines, a JSON array, CSV, TSV and Parquet; the first three also inside gzip or Zstandard. What a
file is, its first bytes say.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

import zstandard

from preference.formats_array import read_json_array
from preference.formats_lines import BOM, READ_AHEAD_BYTES, read_blocks
from preference.formats_scan import MAX_ROW_BYTES, Item, Scan, Scanner, Sink, without_mark
from preference.formats_tables import TableError, looks_like_csv, read_csv, read_parquet
from preference.zstd_stream import ZstdStream

Unit = Literal["line", "row"]

_HEAD_BYTES = 4096
_PACKED = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x1f\x9d": "a compress file",
    b"\x89PNG": "a picture",
    b"%PDF": "a PDF document",
    b"SQLite format 3": "an SQLite database",
    b"ARROW1": "an Arrow file",
}
_TAR_AT, _TAR = 257, b"ustar"
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"


class UnreadableSource(Exception):
    """The file as a whole is not a dataset: the message says what it is and what to do."""


@dataclass(frozen=True)
class Source:
    """A dataset file, recognised. unit: what its numbers count, from 1."""

    path: Path
    form: Literal["jsonl", "json", "csv", "parquet"]
    packed: bool
    unit: Unit

    def scan(self, sink: Sink) -> Scan:
        """All its rows, the canonical ones written to sink. Raises UnreadableSource."""
        scanner = Scanner(sink)
        try:
            if self.form == "parquet":
                _take_rows(scanner, read_parquet(self.path))
                return scanner.scan
            with open_bytes(self.path) as file:
                if self.form == "json":
                    _take_rows(scanner, read_json_array(file, MAX_ROW_BYTES))
                elif self.form == "csv":
                    _take_rows(scanner, read_csv(file, MAX_ROW_BYTES))
                else:
                    _take_lines(scanner, sink, file)
        except (gzip.BadGzipFile, zlib.error, EOFError, zstandard.ZstdError) as error:
            raise _damaged(self.path, error) from None
        except TableError as error:
            raise UnreadableSource(f"{self.path.name}: {error}") from None
        return scanner.scan


def _take_rows(scanner: Scanner, rows: Iterable[tuple[int, Item]]) -> None:
    for number, item in rows:
        scanner.take_row(number, item)


def _take_lines(scanner: Scanner, sink: Sink, file: IO[bytes]) -> None:
    for lines in read_blocks(file, MAX_ROW_BYTES):
        scanner.take_lines(lines if scanner.scan.n_lines else without_mark(lines, sink))


def recognise(path: Path) -> Source:
    """What the file is. Raises UnreadableSource where it is no dataset."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UnreadableSource(f"{path} is no file but a device, a pipe or a socket: write the data to a file.")
        with path.open("rb") as file:
            first = file.read(_HEAD_BYTES)
        _check_packing(path, first)
        with open_bytes(path) as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise UnreadableSource(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise UnreadableSource(f"{path} is a folder; name one file in it.") from None
    except (gzip.BadGzipFile, zlib.error, EOFError, zstandard.ZstdError) as error:
        raise _damaged(path, error) from None
    except OSError as error:  # no leave to read it, a name too long, a broken disk
        raise UnreadableSource(f"{str(path)[:200]} cannot be read: {error.strerror}.") from None
    if first.startswith(_PARQUET):
        return Source(path, "parquet", packed=True, unit="row")
    packed = first.startswith((_GZIP, _ZSTD))
    _check_head(path.name, head)
    start = head.removeprefix(BOM).lstrip()
    if start.startswith(b"["):
        return Source(path, "json", packed, "row")
    if not start.startswith(b"{") and looks_like_csv(path, start):
        return Source(path, "csv", packed, "line")
    return Source(path, "jsonl", packed, "line")


def open_bytes(path: Path) -> IO[bytes]:
    """The file's content, unpacked where its first bytes say that it is packed."""
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(_GZIP):
        return cast(IO[bytes], gzip.open(path, "rb"))
    if head.startswith(_ZSTD):
        return ZstdStream.open(path)
    return path.open("rb", buffering=READ_AHEAD_BYTES)


def _check_packing(path: Path, first: bytes) -> None:
    if not first:
        raise UnreadableSource(f"{path.name} is empty: it has no rows.")
    _check_start(path.name, first)
    for suffix, magic, what in (
        (".gz", _GZIP, "gzip"),
        (".zst", _ZSTD, "Zstandard"),
        (".parquet", _PARQUET, "Parquet"),
    ):
        if path.suffix == suffix and not first.startswith(magic):
            raise UnreadableSource(
                f"{path.name} is named {suffix} and starts with {first[:16]!r}, which is not {what}. "
                f"Download it again, or name it for what it is."
            )


def _check_start(name: str, head: bytes) -> None:
    """Files that are something else than data, whatever their name promises."""
    for magic, what in _PACKED.items():
        if head.startswith(magic):
            raise UnreadableSource(f"{name} is {what}. Unpack or export it: JSON lines may be packed as .gz or .zst.")
    if head[_TAR_AT:].startswith(_TAR):
        raise UnreadableSource(f"{name} is a tar archive. Take the one file out of it (`tar -xf {name}`).")
    start = head.removeprefix(BOM).lstrip().lower()
    if start.startswith(b"version https://git-lfs.github.com/"):
        raise UnreadableSource(
            f"{name} is a Git LFS pointer, not the data. Run `git lfs pull`, or download the file itself."
        )
    if start.startswith((b"<!doctype", b"<html")):
        raise UnreadableSource(f"{name} is a web page, not data: the download went to an error or login page.")
    if start.startswith(b"<"):
        raise UnreadableSource(f"{name} is XML or HTML, not data: probably a server's error message.")


def _check_head(name: str, head: bytes) -> None:
    """What is inside is text, and rows."""
    _check_start(name, head)
    if head.startswith((_GZIP, _ZSTD, _PARQUET)):
        raise UnreadableSource(f"{name} is packed twice. Unpack it once.")
    if not head.strip():
        where = f"only white space in its first {len(head):,} bytes" if head else "nothing inside"
        raise UnreadableSource(f"{name} has {where}: it has no rows.")
    if wide := _wide_encoding(head):
        raise UnreadableSource(f"{name} is {wide} text. Save it as UTF-8.")
    if not head.strip(b"\0"):
        raise UnreadableSource(f"{name} starts with {len(head):,} zero bytes: copying or downloading it broke off.")
    start = head.removeprefix(BOM).lstrip()
    if start.split(b"\n", 1)[0].strip() == b"{":
        raise UnreadableSource(
            f"{name} has JSON objects over several lines. Write one row a line (`jq -c . {name}`), or a JSON array."
        )


def _wide_encoding(head: bytes) -> str:
    """By its byte order mark, or by where the zeros of plain letters stand; "" for none."""
    zeros = [at for at, byte in enumerate(head[:4]) if byte == 0]
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")) or zeros in ([1, 2, 3], [0, 1, 2]):
        return "UTF-32"
    return "UTF-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) or zeros in ([1, 3], [0, 2]) else ""


def _damaged(path: Path, error: Exception) -> UnreadableSource:
    return UnreadableSource(f"{path.name} is damaged or cut short ({error}). Download it or pack it again.")
