"""Rows that are decoded together: one prompt pass, then a token a row at each step, until the last is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from local_server.generation.models import LoadedBase
from local_server.generation.row import Row
from local_server.generation.sampling import next_token, token_logprobs

MIN_ROWS = 4  # fewer are filled up: products of one to three rows take another path, and other last bits
_SHRINK_AT = 0.75  # rows that are over are dropped when at most this share is still going


def padded_length(n_tokens: int) -> int:
    """The length a prompt is padded to, from its own alone: a multiple of 16, or of an eighth of its size."""
    step = max(16, 1 << max(0, (n_tokens - 1).bit_length() - 3))
    return -(-n_tokens // step) * step


class Batch:
    """Rows of one base, adapter and padded length."""

    def __init__(self, base: LoadedBase, rows: Sequence[Row]):
        self._base = base
        self.rows = list(rows)
        self.adapter = rows[0].request.adapter
        self._cache: Any = None
        self._mask = torch.empty(0)

    @property
    def over(self) -> bool:
        return all(row.over for row in self.rows)

    @torch.inference_mode()
    def step(self) -> None:
        """One more token for every row that is not over."""
        with self._base.using(self.adapter) as model:
            logits = self._prefill(model) if self._cache is None else self._decode(model)
        self._choose(logits)
        self._shrink()

    def _prefill(self, model: Any) -> torch.Tensor:
        # the n answers of a request share one pass over its prompt
        prompts = list(dict.fromkeys(tuple(row.prompt) for row in self.rows))
        position = {prompt: i for i, prompt in enumerate(prompts)}
        prompts += [prompts[0]] * (MIN_ROWS - len(prompts))
        length = padded_length(len(self.rows[0].prompt))
        pad = self._base.tokenizer.pad_token_id or 0
        ids = torch.tensor([[pad] * (length - len(p)) + list(p) for p in prompts], device=model.device)
        mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts], device=model.device)
        self._cache = DynamicCache(config=model.config)
        logits = self._forward(model, ids, mask, (mask.cumsum(1) - 1).clamp(min=0))
        order = [position[tuple(row.prompt)] for row in self.rows]
        order += [order[0]] * (MIN_ROWS - len(order))
        self._select(mask, order)
        return logits[order]

    def _decode(self, model: Any) -> torch.Tensor:
        last = [row.tokens[-1] for row in self.rows]
        last += [last[0]] * (self._mask.shape[0] - len(last))
        ids = torch.tensor(last, device=model.device).unsqueeze(1)
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        return self._forward(model, ids, self._mask, self._mask.sum(1, keepdim=True) - 1)

    def _forward(self, model: Any, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        output = model(
            ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits.float()

    def _choose(self, logits: torch.Tensor) -> None:
        for i, row in enumerate(self.rows):
            if row.over:
                continue
            free = logits[i]
            if row.matcher:
                free = free.clone()
                row.matcher.restrict(free)
            token = next_token(free, row.request, index=row.index, step=len(row.tokens))
            if row.request.logprobs is not None:
                row.logprobs.append(
                    token_logprobs(logits[i], token, alternatives=row.request.logprobs, tokenizer=self._base.tokenizer)
                )
            row.accept(token)

    def _shrink(self) -> None:
        going = [i for i, row in enumerate(self.rows) if not row.over]
        held = self._mask.shape[0]
        if going and max(len(going), MIN_ROWS) <= _SHRINK_AT * held:
            order = going + [going[0]] * (MIN_ROWS - len(going))
            self._select(self._mask, order)
            self.rows = [self.rows[i] for i in going]

    def _select(self, mask: torch.Tensor, order: list[int]) -> None:
        index = torch.tensor(order, device=mask.device)
        if order != list(range(mask.shape[0])):
            self._cache.batch_select_indices(index)
        self._mask = mask[index]
