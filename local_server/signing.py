"""Signed URLs: a path that carries its own leave to read or write one file, for an hour."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

SIGNED_PREFIX = "/signed"


@dataclass(frozen=True)
class Grant:
    """Leave to GET or PUT the file at `path`, relative to the server's folder."""

    method: str
    path: str
    size: int | None  # bytes that a PUT must bring
    expires: float  # seconds since 1970


class BadSignature(Exception):
    """Not a URL that this server has signed."""


class Signer:
    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def from_file(cls, path: Path) -> Signer:
        """The secret in the file, made on first use: URLs given out stay good over a restart."""
        if not path.exists():
            partial = path.with_suffix(".partial")
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
            partial.rename(path)
        return cls(path.read_bytes())

    def url(self, base: str, grant: Grant) -> str:
        """base: scheme and host that the client used, without a slash at its end."""
        payload = base64.urlsafe_b64encode(json.dumps(asdict(grant)).encode()).decode().rstrip("=")
        return f"{base}{SIGNED_PREFIX}/{payload}.{self._mac(payload)}/{grant.path.rsplit('/', 1)[-1]}"

    def read(self, token: str) -> Grant:
        """Raises BadSignature. The caller checks the method and the time."""
        payload, _, mac = token.partition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(payload).encode()):
            raise BadSignature
        try:
            return Grant(**json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))
        except (ValueError, TypeError, binascii.Error) as error:
            raise BadSignature from error

    def _mac(self, payload: str) -> str:
        return hmac.new(self._secret, payload.encode(), hashlib.sha256).hexdigest()
