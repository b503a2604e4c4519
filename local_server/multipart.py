"""One file out of a multipart body, streamed to disk as it comes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from local_server.errors import ApiError, invalid
from local_server.files import Incoming, safe_name, write

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

PART = "file"


class _OneFile:
    """The parser's callbacks: the bytes of the part named `file` go to a descriptor, all others nowhere."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._field = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._wanted = False
        self.filename: str | None = None
        self.ended = False

    def on_part_begin(self) -> None:
        self._headers, self._wanted = {}, False

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name", b"").decode(errors="replace") == PART:
            if self.filename is not None:
                raise invalid(f"the upload has two parts named {PART}; send one file")
            self._wanted = True
            self.filename = safe_name(options.get(b"filename", b"data.jsonl").decode(errors="replace"))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._wanted:
            write(self._descriptor, data[start:end])

    def on_end(self) -> None:
        self.ended = True


async def receive_file(request: Request, incoming: Incoming, *, at_most: int) -> tuple[Path, str]:
    """The part named file: where its bytes are now, and its name. Nothing is left if this raises."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise invalid(f"the upload must be multipart/form-data with one part named {PART}")
    path, size, slack = incoming.new_file(), 0, 1 << 16  # for the boundaries and headers around the file
    try:
        with path.open("wb") as file:
            one = _OneFile(file.fileno())
            callbacks: MultipartCallbacks = {
                "on_part_begin": one.on_part_begin,
                "on_header_field": one.on_header_field,
                "on_header_value": one.on_header_value,
                "on_header_end": one.on_header_end,
                "on_headers_finished": one.on_headers_finished,
                "on_part_data": one.on_part_data,
                "on_end": one.on_end,
            }
            parser = MultipartParser(options[b"boundary"], callbacks)
            async for block in request.stream():
                size += len(block)
                if size > at_most + slack:
                    raise ApiError(
                        "INVALID_ARGUMENT",
                        f"an upload through :upload may have {at_most} bytes; use :getUploadEndpoint for more",
                        status=413,
                    )
                parser.write(block)
        if one.filename is None or not one.ended:
            raise invalid(f"the upload has no whole part named {PART}")
    except MultipartParseError as error:
        path.unlink()
        raise invalid(f"the upload is not valid multipart: {error}") from None
    except ClientDisconnect:
        path.unlink()
        raise ApiError("CANCELLED", "the client went away") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path, one.filename
