"""Zstandard as a readable stream that says when it was cut short, which the library's own reader does not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any, cast

import zstandard

_BLOCK_BYTES = 1 << 17
_MAX_WINDOW_BYTES = 1 << 27  # `zstd -19 --long` needs this much; more would be an attack on memory


class ZstdStream(io.RawIOBase):
    """The content of one or more frames. Raises EOFError where the last one does not end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._library = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
        self._frame: Any = None
        self._packed = b""
        self._ready = memoryview(b"")

    @classmethod
    def open(cls, path: Path) -> IO[bytes]:
        return cast(IO[bytes], io.BufferedReader(cls(path.open("rb")), 1 << 20))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = self._packed or self._file.read(_BLOCK_BYTES)
            self._packed = b""
            if not packed:
                if self._frame is not None:
                    raise EOFError("the last Zstandard frame does not end")
                return 0
            if self._frame is None:
                self._frame = self._library.decompressobj()
            self._ready = memoryview(self._frame.decompress(packed))
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()
