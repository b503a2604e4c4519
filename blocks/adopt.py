"""Creating a thing once, whatever happens to the request: choose its ID, create, else look and compare.

Three answers to a create leave it open whether the thing exists: a conflict, a lost answer, an overloaded
server. Each is settled by a look at the ID. What is found, and contradicts nothing asked for, is adopted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from blocks.connection import TRIES, Connection
from blocks.errors import BadAnswer, Conflict, NotFound, NotReached, Unavailable
from preference.wire import Wire, resource_id

W = TypeVar("W", bound=Wire)

CONFLICT_LOOKS = 3  # what was just created may be a moment late in showing

# set by the platform, or for people only: no part of what was asked for
_NOT_COMPARED = frozenset(
    {"name", "displayName", "description", "state", "status", "createTime", "updateTime", "completedTime"}
)


def create_or_adopt(
    connection: Connection, what: str, spec: W, create: Callable[[], W], find: Callable[[], W | None]
) -> W:
    """The thing, made by this call or an earlier one. Conflict where the ID holds another.

    `find` returns None where it does not exist. A create whose answer was lost may still be under way when
    we look and see nothing; asking again is then answered with a conflict, which leads to another look.
    """
    trouble: Exception | None = None
    waits = connection.waits()
    for n_looks in range(1, TRIES + 1):
        try:
            return create()
        except (Conflict, NotReached, Unavailable, BadAnswer) as error:
            trouble = error
        if (found := find()) is not None:
            return adopt(what, spec, found)
        if isinstance(trouble, Conflict) and n_looks == CONFLICT_LOOKS:
            break  # it is something else that is taken, such as the output model's name
        connection.sleep(max(next(waits), min(getattr(trouble, "retry_after_s", None) or 0.0, 60.0)))
    assert trouble is not None
    raise trouble


def find_or_none(get: Callable[[], W]) -> W | None:
    try:
        return get()
    except NotFound:
        return None


def adopt(what: str, spec: W, found: W) -> W:
    """`found`, if nothing in it contradicts `spec`."""
    if contradictions := list(differences(spec.to_json(), found.to_json())):
        raise Conflict(
            f"{what} exists already and is something else: {'; '.join(contradictions)}. "
            "Choose another ID (a new session has its own), or ask for what is there.",
            status=409,
        )
    return found


def differences(asked: dict[str, Any], found: dict[str, Any], path: str = "") -> Iterable[str]:
    """Where both sides say something and it is not the same.

    A field that the platform leaves out contradicts nothing: it omits zeros, and does not echo all it is
    given. A resource may be named in full or by its ID; numbers may be strings, or rounded to 32 bits.
    """
    for key, ours in asked.items():
        if key in _NOT_COMPARED or key not in found:
            continue
        theirs = found[key]
        if isinstance(ours, dict) and isinstance(theirs, dict):
            yield from differences(ours, theirs, f"{path}{key}.")
        elif not _same(ours, theirs):
            yield f"{path}{key} is {theirs!r}, asked for was {ours!r}"


def _same(ours: Any, theirs: Any) -> bool:
    if ours == theirs:
        return True
    if isinstance(ours, list) and isinstance(theirs, list):
        return sorted(map(str, ours)) == sorted(map(str, theirs))
    try:
        return math.isclose(float(ours), float(theirs), rel_tol=1e-6)
    except (TypeError, ValueError):
        return _same_resource(str(ours), str(theirs))


def _same_resource(ours: str, theirs: str) -> bool:
    """Whether one is the other's bare ID; two full names must be equal."""
    if ("/" in ours) == ("/" in theirs):
        return ours == theirs
    return resource_id(ours) == resource_id(theirs)
