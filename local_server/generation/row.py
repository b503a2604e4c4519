"""One answer while it is being written: its tokens, its text, and when it ends."""

from __future__ import annotations

from typing import Any

from tokenizers.decoders import DecodeStream

from local_server.generation.constrained import Matcher
from local_server.generation.request import GenerationRequest


class Row:
    """Answer number `index` of a request."""

    def __init__(
        self,
        request: GenerationRequest,
        index: int,
        prompt: list[int],
        *,
        tokenizer: Any,
        eos: frozenset[int],
        max_tokens: int,
        matcher: Matcher | None,
    ):
        self.request, self.index, self.prompt = request, index, prompt
        self.max_tokens, self.matcher = max_tokens, matcher
        self.tokens: list[int] = []
        self.logprobs: list[dict[str, Any]] = []
        self.finish_reason: str | None = None
        self.cancelled = False
        self._tokenizer, self._eos = tokenizer, eos
        self._stream = DecodeStream(skip_special_tokens=True)
        self._text = ""
        self._sent = 0

    @property
    def over(self) -> bool:
        return self.finish_reason is not None or self.cancelled

    def accept(self, token: int) -> None:
        """Append the token; sets finish_reason where it is the last."""
        self.tokens.append(token)
        complete = self.matcher.accept(token) if self.matcher else False
        if token in self._eos:
            self.finish_reason = "stop"
            return
        self._text += self._stream.step(self._tokenizer.backend_tokenizer, token) or ""
        if (cut := self._stop_at()) is not None:
            self._text = self._text[:cut]
            self.finish_reason = "stop"
        elif complete:
            self.finish_reason = "stop"
        elif len(self.tokens) >= self.max_tokens:
            self.finish_reason = "length"

    def delta(self) -> str:
        """Text that is new since the last call, without what a stop string may still take back."""
        end = len(self._text) if self.over else len(self._text) - self._held_back()
        new, self._sent = self._text[self._sent : end], max(self._sent, end)
        return new

    def choice(self) -> dict[str, Any]:
        choice: dict[str, Any] = {
            "index": self.index,
            "text": self._text,
            "finish_reason": self.finish_reason,
            "token_ids": self.tokens,
            "logprobs": None,
        }
        if self.request.logprobs is not None:
            choice["logprobs"] = {"content": self.logprobs}
        return choice

    def _stop_at(self) -> int | None:
        found = [at for stop in self.request.stop if stop and (at := self._text.find(stop, self._sent)) >= 0]
        return min(found, default=None)

    def _held_back(self) -> int:
        """Characters at the end of the text with which a stop string begins."""
        return max(
            (n for stop in self.request.stop for n in range(1, len(stop)) if self._text.endswith(stop[:n])),
            default=0,
        )
