"""Which rows are answered when: waiting rows that fit together become a batch, and batches take turns."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_server.generation.batch import Batch, padded_length
from local_server.generation.models import LoadedBase, Models
from local_server.generation.request import GenerationFault, GenerationRequest
from local_server.generation.row import Row

MAX_ROWS = 64  # a batch; more do not make a CPU faster
MAX_BATCHES = 3  # at a time, so that a short answer need not wait for the end of a long one
MAX_CACHE_BYTES = 2 << 30  # keys and values of one batch, at its rows' full length

Send = Callable[[dict[str, Any]], None]
_log = logging.getLogger(__name__)


@dataclass
class Waiting:
    """A request and all its rows."""

    request: GenerationRequest
    rows: list[Row]


class Engine:
    def __init__(self, models: Models, send: Send):
        self._models, self._send = models, send
        self._requests: dict[str, Waiting] = {}
        self._queue: deque[Row] = deque()
        self._batches: deque[Batch] = deque()

    @property
    def idle(self) -> bool:
        return not (self._queue or self._batches)

    def take(self, line: dict[str, Any]) -> None:
        """A request or a cancellation. What is wrong with it is answered, not raised."""
        if "cancel" in line:
            self._cancel(str(line["cancel"]))
            return
        try:
            request = GenerationRequest.parse(line)
            rows = self._rows(request)
        except GenerationFault as fault:
            self._send({"id": line.get("id"), "error": fault.body})
        except Exception as error:
            _log.exception("request %s", line.get("id"))
            self._send({"id": line.get("id"), "error": {"code": "INTERNAL", "message": _short(error)}})
        else:
            self._requests[request.id] = Waiting(request, rows)
            self._queue.extend(rows)

    def step(self) -> None:
        """One token for every row of one batch, the batches in turn; answers what is finished."""
        if self._queue and len(self._batches) < MAX_BATCHES:
            self._batches.append(self._next_batch())
        if not self._batches:
            return
        batch = self._batches.popleft()
        rows = batch.rows
        try:
            batch.step()
        except Exception as error:
            _log.exception("batch of %d rows", len(rows))
            for row in rows:
                self._fail(row.request.id, error)
            return
        if not batch.over:
            self._batches.append(batch)
        for row in rows:
            self._report(row)

    def _rows(self, request: GenerationRequest) -> list[Row]:
        base = self._models.base(request.base_model)
        prompt = _prompt(base, request)
        room = base.context_length - len(prompt)
        if room < 1:
            raise GenerationFault(
                "INVALID_ARGUMENT",
                f"the prompt has {len(prompt)} tokens and the model's context {base.context_length}; shorten it",
                param="messages",
            )
        return [
            Row(
                request,
                index,
                prompt,
                tokenizer=base.tokenizer,
                eos=base.eos,
                max_tokens=min(request.max_tokens, room),
                matcher=base.schemas.matcher(request.json_schema) if request.json_schema is not None else None,
            )
            for index in range(request.n)
        ]

    def _next_batch(self) -> Batch:
        """The oldest waiting row, and those behind it that fit with it."""
        first = self._queue[0]
        base = self._models.base(first.request.base_model)
        bytes_a_row = base.kv_bytes_per_token * (len(first.prompt) + first.max_tokens)
        limit = max(1, min(MAX_ROWS, MAX_CACHE_BYTES // bytes_a_row))
        chosen = [row for row in self._queue if _fits(row, first)][:limit]
        taken = set(map(id, chosen))
        self._queue = deque(row for row in self._queue if id(row) not in taken)
        return Batch(base, chosen)

    def _report(self, row: Row) -> None:
        waiting = self._requests.get(row.request.id)
        if waiting is None:
            return
        if row.request.stream and (delta := row.delta()):
            self._send({"id": row.request.id, "index": row.index, "delta": delta})
        if all(other.over for other in waiting.rows):
            del self._requests[row.request.id]
            self._send(_answer(waiting))

    def _cancel(self, id: str) -> None:
        waiting = self._requests.pop(id, None)
        if waiting:
            for row in waiting.rows:
                row.cancelled = True
            self._queue = deque(row for row in self._queue if not row.cancelled)

    def _fail(self, id: str, error: Exception) -> None:
        if id in self._requests:
            self._cancel(id)
            body = error.body if isinstance(error, GenerationFault) else {"code": "INTERNAL", "message": _short(error)}
            self._send({"id": id, "error": body})


def _prompt(base: LoadedBase, request: GenerationRequest) -> list[int]:
    try:
        ids = base.tokenizer.apply_chat_template(
            [_plain(message) for message in request.messages],
            tools=request.tools,
            add_generation_prompt=True,
            return_dict=False,
        )
    except Exception as error:  # a template may raise anything, jinja2's TemplateError above all
        raise GenerationFault(
            "INVALID_ARGUMENT", f"the model's chat template refuses these messages: {error}", param="messages"
        ) from error
    return list(ids)


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """Content parts joined into one text, which is what chat templates of text models expect."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    return {**message, "content": content or ""}


def _fits(row: Row, first: Row) -> bool:
    return _key(row) == _key(first)


def _key(row: Row) -> tuple[Path, Path | None, int]:
    return row.request.base_model, row.request.adapter, padded_length(len(row.prompt))


def _answer(waiting: Waiting) -> dict[str, Any]:
    prompt = len(waiting.rows[0].prompt)  # counted once, whatever n is
    completion = sum(len(row.tokens) for row in waiting.rows)
    return {
        "id": waiting.request.id,
        "choices": [row.choice() for row in waiting.rows],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
    }


def _short(error: Exception) -> str:
    text = str(error).splitlines()
    return f"generation failed: {type(error).__name__}: {text[0][:300] if text else ''}"
