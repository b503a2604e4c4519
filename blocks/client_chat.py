"""Chat completions, one by one and in bulk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from blocks.bulk import CHAT_PATH, BulkChat, ChatRequest, ChatResult, as_they_come
from blocks.client_serving import Serving
from blocks.connection import CHAT_TIMEOUT
from blocks.dialect import WITHOUT_BOUNDS, shared_dialect
from blocks.limits import shared_limit
from preference.wire import ChatCompletion

CONCURRENCY = 64
PATIENCE_S = 1800.0  # a deployment's start from zero takes ten minutes and more


class Chat(Serving):
    def chat(self, model: str, messages: Sequence[Mapping[str, Any]], **params: Any) -> ChatCompletion:
        """POST /inference/v1/chat/completions.

        `params` as the API names them: max_tokens, n, seed, response_format, reasoning_effort, ...
        """
        body = {"model": self.address(model), "messages": list(messages), **params}
        answer = self._connection.send("POST", CHAT_PATH, json=body, repeatable=True, timeout=CHAT_TIMEOUT)
        return ChatCompletion.model_validate(answer)

    async def chat_many(
        self,
        requests: Iterable[ChatRequest],
        *,
        concurrency: int = CONCURRENCY,
        patience_s: float = PATIENCE_S,
    ) -> AsyncGenerator[ChatResult]:
        """The results of many requests, as they come; at most `concurrency` are taken from `requests` ahead.

        429 and 503 slow down all callers of that model in this process together, and they speed up again.
        A request that fails for good or runs out of patience is a result with its error; only NotAllowed is
        raised, since it would meet them all. Use it within contextlib.aclosing if you may stop early.
        """
        root, account = self._connection.root, self._account or ""
        bulk = BulkChat(
            self._connection,
            concurrency=concurrency,
            patience_s=patience_s,
            limit=lambda model: shared_limit(root, account, model),
            address=self.address,
            dialect=shared_dialect(root, account, changes=(WITHOUT_BOUNDS,)),
        )
        async with bulk, aclosing(as_they_come(requests, bulk.ask, concurrency)) as results:
            async for result in results:
                yield result
