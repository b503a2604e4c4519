"""Every answer that was paid for, on disk before it is used: SQLite, one file a session.

A call is announced before it is made. What is announced and never answered was in flight when the process
died: it may have been billed and is counted as such.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

_SCHEMA = """
create table if not exists answers (
  key text primary key, model text not null, messages text not null, parameters text not null,
  sample integer not null, text text not null, finish_reason text, prompt_tokens integer not null,
  completion_tokens integer not null, at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  usd real, thinking_open integer not null default 0, adapted text not null default '');
create table if not exists calls (
  id integer primary key, key text not null,
  state text not null check (state in ('begun', 'answered', 'failed')), reason text not null default '',
  batch text not null default '');
create index if not exists calls_by_key on calls (key);
"""
_ADDED = {  # to tables of journals that were begun before
    "answers": {
        "usd": "real",
        "thinking_open": "integer not null default 0",
        "adapted": "text not null default ''",
    },
    "calls": {"reason": "text not null default ''", "batch": "text not null default ''"},
}


BUSY_S = 60.0  # how long a write waits for those of other threads on a slow disk
_OPENING = threading.Lock()


class Answer(BaseModel):
    """One completion as it was bought."""

    text: str
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    usd: float | None = None  # what the platform bills for it by the token; None: by the hour, or not known
    thinking_open: bool = False  # it began to think and did not end it
    adapted: str = ""  # how it was asked, where the endpoint does not take all of the parameters


def answer_key(model: str, messages: list[dict[str, Any]], parameters: dict[str, Any], sample: int = 0) -> str:
    """sha256 over what decides the answer: the model, the messages, the parameters, the sample."""
    spec = [model, messages, parameters, sample]
    return hashlib.sha256(json.dumps(spec, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Journal:
    """Thread-safe; one connection, since SQLite has one writer anyway."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=BUSY_S)
        with _OPENING:  # SQLite does not wait its turn for this one change, and says that it is locked
            if self._db.execute("pragma journal_mode").fetchone() != ("wal",):
                self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")  # bought answers must survive a power cut
        self._db.executescript(_SCHEMA)
        with _OPENING:
            self._add_columns()

    def _add_columns(self) -> None:
        for table, columns in _ADDED.items():
            there = {row[1] for row in self._db.execute(f"pragma table_info({table})")}
            for name, kind in columns.items():
                if name not in there:
                    self._db.execute(f"alter table {table} add column {name} {kind}")

    def close(self) -> None:
        self._db.close()

    def find(self, key: str) -> Answer | None:
        with self._lock:
            row = self._db.execute(
                "select text, finish_reason, prompt_tokens, completion_tokens, usd, thinking_open, adapted "
                "from answers where key = ?",
                (key,),
            ).fetchone()
        if row is None:
            return None
        return Answer(
            text=row[0],
            finish_reason=row[1],
            prompt_tokens=row[2],
            completion_tokens=row[3],
            usd=row[4],
            thinking_open=bool(row[5]),
            adapted=row[6],
        )

    def begin(self, key: str) -> int:
        """Announce a call; the number is for finish or fail."""
        with self._lock:
            call = self._db.execute("insert into calls (key, state) values (?, 'begun')", (key,)).lastrowid
        assert call is not None  # an insert has one
        return call

    def begin_batch(self, job: str, keys: Iterable[str]) -> None:
        """Announce the calls of a batch job, all or none; announced before, they stay as they are."""
        with self._lock, self._db:
            self._db.execute("begin immediate")
            if self._db.execute("select 1 from calls where batch = ? limit 1", (job,)).fetchone() is None:
                rows = [(key, job) for key in keys]
                self._db.executemany("insert into calls (key, state, batch) values (?, 'begun', ?)", rows)

    def open_calls(self, job: str) -> dict[str, int]:
        """The calls of a batch job that have neither an answer nor a failure: number by key."""
        with self._lock:
            rows = self._db.execute("select key, id from calls where batch = ? and state = 'begun'", (job,)).fetchall()
        return dict(rows)

    def finish(
        self,
        call: int,
        key: str,
        model: str,
        messages: list[dict[str, Any]],
        parameters: dict[str, Any],
        answer: Answer,
        sample: int = 0,
    ) -> None:
        """Keep the answer; the first one for a key stays."""
        with self._lock, self._db:
            self._db.execute("begin immediate")
            self._db.execute(
                "insert or ignore into answers (key, model, messages, parameters, sample, text, "
                "finish_reason, prompt_tokens, completion_tokens, usd, thinking_open, adapted) "
                "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    key,
                    model,
                    json.dumps(messages, ensure_ascii=False),
                    json.dumps(parameters, sort_keys=True),
                    sample,
                    answer.text,
                    answer.finish_reason,
                    answer.prompt_tokens,
                    answer.completion_tokens,
                    answer.usd,
                    answer.thinking_open,
                    answer.adapted,
                ),
            )
            self._db.execute("update calls set state = 'answered' where id = ?", (call,))

    def fail(self, call: int, reason: str = "") -> None:
        with self._lock:
            self._db.execute("update calls set state = 'failed', reason = ? where id = ?", (reason, call))

    def failure(self, key: str) -> str | None:
        """Why the last call for this key failed; None where none did."""
        with self._lock:
            row = self._db.execute(
                "select reason from calls where key = ? and state = 'failed' order by id desc limit 1", (key,)
            ).fetchone()
        return None if row is None else str(row[0])

    def usage(self) -> dict[str, tuple[int, int, int]]:
        """Per model: answers, prompt tokens, completion tokens."""
        with self._lock:
            rows = self._db.execute(
                "select model, count(*), sum(prompt_tokens), sum(completion_tokens) from answers group by model"
            ).fetchall()
        return {model: (n, prompt, completion) for model, n, prompt, completion in rows}

    def n_possibly_billed_twice(self) -> int:
        """Calls whose answer never arrived here: in flight when a process died."""
        with self._lock:
            (n,) = self._db.execute("select count(*) from calls where state = 'begun'").fetchone()
        return int(n)
