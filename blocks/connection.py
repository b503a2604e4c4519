"""How requests go out and answers come back: addresses, retries, and the one funnel for trouble."""

from __future__ import annotations

import functools
import itertools
import json
import logging
import os
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx

from blocks import errors

# connect 10 s and, for the control plane, a minute to answer: docs.fireworks.ai, guides/reliability
CONTROL_TIMEOUT = httpx.Timeout(60, connect=10)
CHAT_READ_S = 600.0
CHAT_TIMEOUT = httpx.Timeout(CHAT_READ_S, connect=10, pool=None)  # waiting for a free connection is no fault
TRANSFER_TIMEOUT = httpx.Timeout(120, connect=10)

TRIES = 6  # with the waits below: about half a minute
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
WORTH_RETRYING = frozenset({408, 429, 502, 503, 504})

_NOT_CONNECTED = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
)

_ENDINGS = re.compile(r"(/inference)?(/v1)?/*$")


def root_url(base_url: str) -> str:
    """The address without /v1, /inference or /inference/v1 at its end, in whichever form it was given."""
    url = _ENDINGS.sub("", base_url.strip().rstrip("/"))
    if not url.startswith(("http://", "https://")) or url.endswith(":/"):
        raise ValueError(f"base_url must be an address such as https://api.fireworks.ai, not {base_url!r}")
    return url


def waits_s(first_s: float = FIRST_WAIT_S, factor: float = 2.0, longest_s: float = LONGEST_WAIT_S) -> Iterator[float]:
    """Seconds between one try and the next: exponential, with a jitter of a quarter."""
    for n in itertools.count():
        yield min(longest_s, first_s * factor**n) * random.uniform(0.75, 1.0)


def ssl_context() -> ssl.SSLContext:
    """Certificates as the environment has them (SSL_CERT_FILE, SSL_CERT_DIR), else certifi's."""
    return _ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.cache  # reading the certificates takes 0.15 s, and every task makes a client
def _ssl_context(cert_file: str | None, cert_dir: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()


class Connection:
    """An address with a key. Thread-safe, as httpx.Client is; close it when done."""

    def __init__(
        self,
        base_url: str,
        api_key: str = "",
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        waits: Callable[[], Iterator[float]] = waits_s,
    ) -> None:
        self.root = root_url(base_url)
        self.waits = waits
        self.sleep = sleep
        self.clock = clock
        self._key = api_key.strip()
        if not re.fullmatch(r"[!-~]*", self._key):
            raise ValueError("the API key holds characters that no key has; copy it again, without quotes or spaces")
        # trust_env is httpx's default: HTTPS_PROXY and NO_PROXY are honoured
        self._http = httpx.Client(
            headers=self.headers, timeout=CONTROL_TIMEOUT, transport=transport, verify=ssl_context()
        )
        # signed addresses carry their own permission: our key must not travel to a storage host
        self.signed = httpx.Client(
            timeout=TRANSFER_TIMEOUT, transport=transport, follow_redirects=True, verify=ssl_context()
        )
        logging.getLogger("httpx").addFilter(_hide_queries)

    @property
    def headers(self) -> dict[str, str]:
        authorization = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return {"X-Fireworks-Client-Source": "prefworks", **authorization}

    def __repr__(self) -> str:
        return f"Connection({self.root!r})"

    def close(self) -> None:
        self._http.close()
        self.signed.close()

    def send(self, method: str, path: str, *, repeatable: bool | None = None, **request: Any) -> Any:
        """The parsed JSON answer to a request, {} where it is empty.

        `repeatable` says that sending it twice does no harm; by default so are GET, DELETE, PUT and PATCH.
        A POST that creates is sent once: see `blocks.adopt` for what happens when its answer is lost.
        """
        return self.read_json(method, path, self.request(method, path, repeatable=repeatable, **request))

    def request(self, method: str, path: str, *, repeatable: bool | None = None, **request: Any) -> httpx.Response:
        """Send, wait out what passes by itself, and raise what does not."""
        repeatable = method != "POST" if repeatable is None else repeatable
        tries = TRIES if repeatable else 1
        waits = self.waits()
        for left in range(tries - 1, -1, -1):
            try:
                return self._request_once(method, path, **request)
            except (errors.Unavailable, errors.NotReached) as error:
                if not left or not self.passes(error):
                    raise
                self.sleep(max(next(waits), min(error.retry_after_s or 0.0, 60.0)))
        raise AssertionError("unreachable")

    @staticmethod
    def passes(error: errors.PlatformError) -> bool:
        """Whether trouble of this kind is likely to pass within seconds."""
        if isinstance(error, errors.ScalingUp):
            return False  # minutes, not seconds: `wait_until_serving` waits for that
        return error.status is None or error.status in WORTH_RETRYING

    def _request_once(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            response = self._http.request(method, self.root + path, **request)
        except httpx.HTTPError as error:
            raise self.not_reached(method, self.root + path, error) from error
        if response.is_redirect:
            raise errors.Refused(
                f"{method} {self.root}{path} was redirected ({response.status_code}) to "
                f"{response.headers.get('location', 'nowhere')!r}. Set base_url to where it answers itself.",
                status=response.status_code,
            )
        if not response.is_success:
            raise self.refusal(method, self.root + path, response)
        return response

    def get_signed(self, url: str) -> str:
        """The text behind a signed address, which is small: a metrics file, a log."""
        place = url.partition("?")[0]  # the query is the permission: in no message
        waits = self.waits()
        for left in range(TRIES - 1, -1, -1):
            try:
                response = self.signed.get(url)
                if response.is_success:
                    return response.text
                trouble = self.refusal("GET", place, response)
                if not self.passes(trouble):
                    raise trouble
            except httpx.HTTPError as error:
                trouble = self.not_reached("GET", place, error)
            if left:
                self.sleep(next(waits))
        raise trouble

    def refusal(self, method: str, url: str, response: httpx.Response) -> errors.PlatformError:
        """The error for an answer that says no."""
        try:
            body = json.loads(self._without_key(response.text))
        except ValueError:
            body = None
        text = "" if body is not None else self._without_key(response.text[:2000])
        return errors.from_response(method, url, response.status_code, response.headers, body, text=text)

    def not_reached(self, method: str, url: str, error: Exception) -> errors.NotReached:
        """The error for a request without an answer. Only a failure to connect has surely done nothing."""
        cause = self._without_key(f"{type(error).__name__}: {error}".rstrip(": "))
        if isinstance(error, _NOT_CONNECTED):
            return errors.NotReached(
                f"{method} {url}: nothing answers ({cause}). Start the server "
                "(`prefworks serve` for the local one), or check base_url, the network and the proxy."
            )
        return errors.LostAnswer(
            f"{method} {url}: the request went out and its answer was lost ({cause}). "
            "The platform may have carried it out: look before asking again."
        )

    def read_json(self, method: str, path: str, response: httpx.Response) -> Any:
        if not response.content:
            return {}
        try:
            return response.json()
        except ValueError as error:
            start = self._without_key(response.text[:200])
            raise errors.BadAnswer(
                f"{method} {self.root}{path} was answered with {response.status_code} and something that is "
                f"not JSON: {start!r}. Check that base_url is the API and not a proxy's page.",
                status=response.status_code,
            ) from error

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _hide_queries(record: logging.LogRecord) -> bool:
    """httpx logs whole addresses, and a signed one is a permission: cut the query off."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            arg.copy_with(query=None) if isinstance(arg, httpx.URL) and arg.query else arg for arg in record.args
        )
    return True
