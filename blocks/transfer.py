"""Large files over signed addresses, in constant memory: whole, resumable, never with our key.

Uploads are cut into shards at line ends without copying the file. Downloads go to NAME.part and are renamed
when their size is right; a broken one goes on where it stopped, if the server still has the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import httpx

from blocks.connection import TRIES, Connection
from blocks.errors import TransferFailed

CHUNK_BYTES = 1 << 20
SHARD_BYTES = 512 << 20


@dataclass(frozen=True)
class Shard:
    """The bytes [start, end) of a file, to be uploaded under a name of their own."""

    name: str
    path: Path
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    def read(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = self.size
            while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk


def shards(path: Path, shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """The file as shards of about shard_bytes, each ending at a line's end. One keeps the file's own name."""
    size = path.stat().st_size
    if size == 0:
        raise TransferFailed(f"{path} is empty: there is nothing to upload.")
    cuts = [0]
    with path.open("rb") as file:
        while cuts[-1] + shard_bytes < size:
            file.seek(cuts[-1] + shard_bytes - 1)
            file.readline()
            cuts.append(file.tell())
    if cuts[-1] != size:
        cuts.append(size)
    n = len(cuts) - 1
    names = [path.name] if n == 1 else [f"{path.stem}-{i:05}-of-{n:05}{path.suffix}" for i in range(n)]
    return [Shard(name, path, *span) for name, span in zip(names, pairwise(cuts), strict=True)]


def upload(connection: Connection, shard: Shard, url: str) -> None:
    """PUT a shard to its signed address, with exactly the two headers that the signature covers."""
    headers = {
        "Content-Type": "application/octet-stream",
        "X-Goog-Content-Length-Range": f"{shard.size},{shard.size}",
        "Content-Length": str(shard.size),  # else httpx would send the iterator in chunks
    }
    waits = connection.waits()
    for left in range(TRIES - 1, -1, -1):
        try:
            response = connection.signed.put(url, content=shard.read(), headers=headers, follow_redirects=False)
        except httpx.TransportError as error:
            trouble = f"{type(error).__name__}: {error}"
        else:
            if response.is_success:
                return
            trouble = f"{response.status_code}: {response.text[:300]}"
            if response.status_code < 500 and response.status_code not in (408, 429):
                break
        if left:
            connection.sleep(next(waits))
    raise TransferFailed(
        f"PUT {without_query(url)} did not take {shard.name} ({shard.size} bytes): {trouble}. "
        "Upload again; signed addresses live for an hour."
    )


def download_all(connection: Connection, urls: Mapping[str, str], folder: Path) -> list[Path]:
    """Every file of {object path: signed address}, under its base name, into the folder."""
    targets = [(folder / file_name(key), url) for key, url in sorted(urls.items())]
    if len({path for path, _ in targets}) != len(targets):
        raise TransferFailed(f"two of the files to download have the same name: {sorted(urls)}.")
    folder.mkdir(parents=True, exist_ok=True)
    return [download(connection, url, path) for path, url in targets]


def file_name(object_path: str) -> str:
    """The base name of an object's path, safe to use in a folder."""
    name = PurePosixPath(object_path.replace("\\", "/")).name
    if name in ("", ".", "..") or "\0" in name:
        raise TransferFailed(f"the platform offers a file under a name that is none: {object_path!r}.")
    return name


def download(connection: Connection, url: str, target: Path, *, max_bytes: int | None = None) -> Path:
    """GET a signed address into `target`, going on with what an earlier call left in target.part.

    TransferFailed where the bytes stop short after all tries, where there are more than max_bytes, or
    where the address has expired.
    """
    part = target.with_name(target.name + ".part")
    version = target.with_name(target.name + ".version")  # the ETag of the bytes in .part
    waits = connection.waits()
    for left in range(TRIES - 1, -1, -1):
        try:
            _fetch(connection, url, part, version, max_bytes)
            os.replace(part, target)
            version.unlink(missing_ok=True)
            return target
        except (httpx.TransportError, _Incomplete) as error:
            trouble = f"{type(error).__name__.lstrip('_')}: {error}"
        if left:
            connection.sleep(next(waits))
    raise TransferFailed(
        f"GET {without_query(url)} did not arrive whole ({trouble}). What came is kept in {part}, "
        "and it goes on from there when it is asked for again."
    )


class _Incomplete(Exception):
    pass


def _fetch(connection: Connection, url: str, part: Path, version: Path, max_bytes: int | None) -> None:
    """One try. Raises _Incomplete or a transport error where another may go on from what is there."""
    have, tag = _resumable(part, version)
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges count the bytes as they are stored
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    with connection.signed.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:  # the part holds more than there is
            part.unlink(missing_ok=True)
            raise _Incomplete("the part on disk was not of these bytes")
        if response.status_code >= 500 or response.status_code in (408, 429):
            raise _Incomplete(f"answered with {response.status_code}")
        if not response.is_success:
            response.read()
            raise TransferFailed(
                f"GET {without_query(url)} was answered with {response.status_code}: {response.text[:300]}. "
                "Ask for the download again; signed addresses live for an hour."
            )
        if response.status_code != 206:
            have = 0
        length = response.headers.get("content-length")
        whole = None if length is None else have + int(length)
        if max_bytes is not None and (whole or 0) > max_bytes:
            raise TransferFailed(f"GET {without_query(url)}: {whole} bytes, and {max_bytes} are allowed.")
        version.write_text(response.headers.get("etag", ""))
        _append(response, part, have, max_bytes)
    if whole is not None and part.stat().st_size != whole:
        raise _Incomplete(f"{part.stat().st_size} of {whole} bytes")


def _append(response: httpx.Response, part: Path, have: int, max_bytes: int | None) -> None:
    with part.open("r+b" if have else "wb") as file:
        file.seek(have)
        for chunk in response.iter_raw(CHUNK_BYTES):
            file.write(chunk)
            if max_bytes is not None and file.tell() > max_bytes:
                raise TransferFailed(f"a download is larger than the {max_bytes} bytes that are allowed.")


def _resumable(part: Path, version: Path) -> tuple[int, str]:
    """(bytes on disk, their ETag); nothing where the server gave no strong tag to resume by."""
    try:
        tag = version.read_text().strip()
        have = part.stat().st_size
    except FileNotFoundError:
        return 0, ""
    return (have, tag) if tag and not tag.startswith("W/") else (0, "")


def without_query(url: str) -> str:
    """A signed address without its signature, for messages."""
    split = urlsplit(url)
    return unquote(f"{split.scheme}://{split.netloc}{split.path}")
