"""What can go wrong with the platform, sorted by what one can do about it.

PlatformError
├── Refused           mend the request; asking again as it is will not help
│   ├── NotFound      404: no such thing, no access to it, or not deployed
│   ├── Conflict      409: the ID is taken by something else
│   ├── NotTunable    this model cannot be tuned on preferences
│   ├── Ambiguous     a name that fits several things
│   └── NotOurs       it was not made by this session: it is not changed or deleted
├── NotAllowed        get access
│   ├── BadKey        401
│   ├── NotPaid       402
│   ├── Forbidden     403
│   └── Suspended     412, or an account suspended for spending
├── Unavailable       try later: 408, 429, 5xx
│   ├── RateLimited   429
│   └── ScalingUp     503 DEPLOYMENT_SCALING_UP: a deployment is on its way up
├── NotReached        nothing answers at the address
│   └── LostAnswer    the request went out, no answer came back: it may have been carried out
├── BadAnswer         the answer is not what the API says it is
├── Failed            a job, dataset, deployment or evaluator ended in a failed state
├── Overdue           it is not ready after as long as we were told to wait
└── TransferFailed    an upload or a download that did not arrive whole
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PlatformError(Exception):
    """Base of all trouble with the platform. `status` is HTTP's, None where no answer came."""

    # all but the message have defaults, so that the error survives pickling between processes
    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        reason: str = "",
        api_message: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason  # the API's own code, such as FAILED_PRECONDITION or NOT_FOUND
        self.api_message = api_message
        self.retry_after_s = retry_after_s


class Refused(PlatformError):
    pass


class NotFound(Refused):
    pass


class Conflict(Refused):
    pass


class NotTunable(Refused):
    pass


class Ambiguous(Refused):
    pass


class NotOurs(Refused):
    pass


class NotAllowed(PlatformError):
    pass


class BadKey(NotAllowed):
    pass


class NotPaid(NotAllowed):
    pass


class Forbidden(NotAllowed):
    pass


class Suspended(NotAllowed):
    pass


class Unavailable(PlatformError):
    pass


class RateLimited(Unavailable):
    pass


class ScalingUp(Unavailable):
    pass


class NotReached(PlatformError):
    pass


class LostAnswer(NotReached):
    pass


class BadAnswer(PlatformError):
    pass


class Failed(PlatformError):
    pass


class Overdue(PlatformError):
    pass


class TransferFailed(PlatformError):
    pass


_BY_STATUS: dict[int, type[PlatformError]] = {
    401: BadKey,
    402: NotPaid,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    429: RateLimited,
    499: Unavailable,
}

_ADVICE: dict[type[PlatformError], str] = {
    BadKey: "Check the API key in the platform block: it is missing, wrong, expired or for another address.",
    NotPaid: "Add a payment method or credits to the account, or wait until its limits reset.",
    Forbidden: "Ask the account's admin for the permission; creating evaluators may need the admin role.",
    Suspended: "See the account's billing page: it is suspended, or its monthly spend limit is reached.",
    NotFound: "Check the name, and that the account may see it; a tuned model answers only while deployed.",
    Conflict: "The ID is taken: choose another, or use what is there.",
    RateLimited: "Wait, or lower the number of calls in flight.",
    ScalingUp: "Wait until the deployment has scaled up.",
    Unavailable: "Try again later.",
    Refused: "Mend the request.",
}

# messages of the gateway that one meets, with what helps; lower case
_ADVICE_BY_MESSAGE: dict[str, str] = {
    "payment method is required": "Add a payment method to the account.",
    "model is not supported for fine-tuning": "Choose one with supervisedLoraTunable and useTrainingV2.",
    "accelerator_type must be specified": "Give accelerator_type, or a deployment_shape.",
    "addons cannot be enabled with quantized precisions": "Deploy the base model in BF16, or "
    "the tuned model itself (live merge).",
    "quota": "Lower the number of jobs or accelerators in use, or ask for a higher quota.",
}

_SUSPENDED_WORDS = ("suspended", "spend limit", "spending limit", "credit depleted", "credits depleted")


def from_response(
    method: str, url: str, status: int, headers: Mapping[str, str], body: Any, *, text: str = ""
) -> PlatformError:
    """The error for an answer of status 400 and above. `body` is parsed JSON or None, `text` the raw start.

    The control plane sends google.rpc.Status {"code": 5, "message": ...}, inference {"error": {...}}.
    """
    reason, api_message = _read_body(body)
    api_message = api_message or text.strip()[:300] or "no message"
    kind = _kind(status, reason, api_message)
    said = f'{status} {reason}: "{api_message}"' if reason else f'{status}: "{api_message}"'
    return kind(
        f"{method} {url} was answered with {said}. {_advice(kind, api_message)}",
        status=status,
        reason=reason,
        api_message=api_message,
        retry_after_s=retry_after_s(headers),
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks us to wait; None where it does not say, or gives a date."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit_s)
        except (KeyError, ValueError):
            continue
    return None


def _kind(status: int, reason: str, api_message: str) -> type[PlatformError]:
    if reason == "DEPLOYMENT_SCALING_UP":
        return ScalingUp
    if status in (402, 403, 412, 429) and any(word in api_message.lower() for word in _SUSPENDED_WORDS):
        return Suspended
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return Unavailable if status >= 500 and status != 501 else Refused


def _advice(kind: type[PlatformError], api_message: str) -> str:
    if kind in (Refused, RateLimited):
        for words, advice in _ADVICE_BY_MESSAGE.items():
            if words in api_message.lower():
                return advice
    return _ADVICE[kind]


_RPC_CODES = {
    3: "INVALID_ARGUMENT",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    10: "ABORTED",
    11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    15: "DATA_LOSS",
    16: "UNAUTHENTICATED",
}


def _read_body(body: Any) -> tuple[str, str]:
    """(reason, message) of either shape of error body; empty where it says nothing."""
    if not isinstance(body, dict):
        return "", ""
    error = body.get("error", body)
    if not isinstance(error, dict):
        return "", str(error)
    code = error.get("code")
    reason = _RPC_CODES.get(code, str(code)) if isinstance(code, int) else str(code or error.get("type") or "")
    return reason, str(error.get("message") or "")
