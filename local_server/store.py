"""Everything the server knows, in one SQLite file: resources as the wire shows them, and what the wire hides.

Used from the event loop's thread alone. A change is one transaction, so that a kill leaves the old or the new.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local_server import errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    name TEXT PRIMARY KEY, collection TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, private TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_collection ON resources (collection, number);
CREATE TABLE IF NOT EXISTS usage (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, resource TEXT NOT NULL, model TEXT NOT NULL,
    quantities TEXT NOT NULL, cost_usd REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS usage_by_time ON usage (time);
"""


@dataclass
class Record:
    """A resource: `body` is its JSON on the wire, `private` what only the server needs."""

    name: str
    body: dict[str, Any]
    private: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.name.rsplit("/", 1)[-1]

    @property
    def state(self) -> str:
        return str(self.body.get("state", ""))


@dataclass(frozen=True)
class UsageEvent:
    """Something billable that happened: tokens trained on, tokens generated, or seconds of a replica."""

    time: float  # seconds since 1970
    kind: str  # TRAINING, INFERENCE, BATCH_INFERENCE, DEPLOYMENT
    resource: str
    model: str
    quantities: dict[str, float]
    cost_usd: float


class Store:
    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")  # survives any kill of the process
            self._db.executescript(_SCHEMA)
        except sqlite3.Error:
            self._db.close()
            raise
        self._clock = clock

    def close(self) -> None:
        self._db.close()

    def now(self) -> str:
        moment = datetime.fromtimestamp(self._clock(), UTC)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def create(self, name: str, body: dict[str, Any], private: dict[str, Any] | None = None) -> Record:
        """Raises ALREADY_EXISTS if the name is taken."""
        now = self.now()
        record = Record(name, {**body, "name": name, "createTime": now, "updateTime": now}, private or {})
        try:
            self._db.execute(
                "INSERT INTO resources VALUES (?, ?, (SELECT coalesce(max(number), 0) + 1 FROM resources), ?, ?)",
                (name, name.rsplit("/", 1)[0], json.dumps(record.body), json.dumps(record.private)),
            )
        except sqlite3.IntegrityError:
            raise errors.already_exists(name) from None
        return record

    def find(self, name: str) -> Record | None:
        row = self._db.execute("SELECT body, private FROM resources WHERE name = ?", (name,)).fetchone()
        return Record(name, json.loads(row[0]), json.loads(row[1])) if row else None

    def get(self, name: str) -> Record:
        """Raises NOT_FOUND."""
        if record := self.find(name):
            return record
        raise errors.not_found(name)

    def update(self, name: str, body: dict[str, Any] | None = None, private: dict[str, Any] | None = None) -> Record:
        """Set these fields; None removes one. Raises NOT_FOUND if the resource has gone meanwhile."""
        record = self.get(name)
        record.body = _merged(record.body, {**(body or {}), "updateTime": self.now()})
        record.private = _merged(record.private, private or {})
        self._db.execute(
            "UPDATE resources SET body = ?, private = ? WHERE name = ?",
            (json.dumps(record.body), json.dumps(record.private), name),
        )
        return record

    def delete(self, name: str) -> None:
        """Raises NOT_FOUND."""
        if self._db.execute("DELETE FROM resources WHERE name = ?", (name,)).rowcount == 0:
            raise errors.not_found(name)

    def all(self, collection: str) -> list[Record]:
        """Those of a collection, such as accounts/local/datasets, in the order of creation."""
        rows = self._db.execute(
            "SELECT name, body, private FROM resources WHERE collection = ? ORDER BY number", (collection,)
        )
        return [Record(name, json.loads(body), json.loads(private)) for name, body, private in rows]

    def add_usage(self, event: UsageEvent) -> None:
        self._db.execute(
            "INSERT INTO usage (time, kind, resource, model, quantities, cost_usd) VALUES (?, ?, ?, ?, ?, ?)",
            (
                event.time,
                event.kind,
                event.resource,
                event.model,
                json.dumps(event.quantities),
                event.cost_usd,
            ),
        )

    def usage(self, start: float, end: float) -> list[UsageEvent]:
        """Events with start ≤ time < end, oldest first."""
        rows = self._db.execute(
            "SELECT time, kind, resource, model, quantities, cost_usd FROM usage WHERE time >= ? AND time < ? "
            "ORDER BY time, id",
            (start, end),
        )
        return [
            UsageEvent(time, kind, name, model, json.loads(quantities), cost)
            for time, kind, name, model, quantities, cost in rows
        ]


def _merged(old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**old, **changes}.items() if value is not None}
