"""The next token of a row from its logits."""

from __future__ import annotations

import random
from typing import Any

import torch

from local_server.generation.request import GenerationRequest


def next_token(logits: torch.Tensor, request: GenerationRequest, *, index: int, step: int) -> int:
    """logits: (n_tokens,). index: which of the request's n answers; step: how many tokens it has already.

    Temperature 0 is the most likely token. Otherwise the one draw comes from the seed, index and step alone.
    """
    if request.temperature == 0:
        return int(logits.argmax())
    probabilities = torch.softmax(logits.double() / request.temperature, dim=-1)
    draw = random.Random(f"{request.seed}/{index}/{step}").random()
    if not request.top_k and (request.top_p is None or request.top_p == 1):
        return _at(probabilities, draw)
    ordered, tokens = probabilities.sort(descending=True, stable=True)
    keep = ordered.numel()
    if request.top_p is not None:  # the fewest tokens that together have top_p
        keep = int((ordered.cumsum(0) < request.top_p).sum()) + 1
    if request.top_k:
        keep = min(keep, request.top_k)
    return int(tokens[_at(ordered[:keep], draw)])


def _at(weights: torch.Tensor, draw: float) -> int:
    """The index at which the running sum of the weights passes the draw, a share of their total."""
    sums = weights.cumsum(0)
    index = int(torch.searchsorted(sums, sums[-1] * draw, right=True))
    return min(index, int(weights.nonzero()[-1]))  # rounding must not reach a token of weight 0


def token_logprobs(logits: torch.Tensor, token: int, *, alternatives: int, tokenizer: Any) -> dict[str, Any]:
    """One entry of logprobs.content: natural logarithms under the model itself, temperature 1, no constraint."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    entry = _entry(token, float(logprobs[token]), tokenizer)
    values, tokens = logprobs.topk(alternatives)
    entry["top_logprobs"] = [
        _entry(int(t), float(v), tokenizer) for v, t in zip(values.tolist(), tokens.tolist(), strict=True)
    ]
    return entry


def _entry(token: int, logprob: float, tokenizer: Any) -> dict[str, Any]:
    text = tokenizer.decode([token])
    return {
        "token": text,
        "logprob": max(logprob, -9999.0),  # JSON has no infinity; this is what the OpenAI API writes
        "bytes": list(text.encode()),
    }
