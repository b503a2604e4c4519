"""Constrained decoding by llguidance: at each step only tokens that keep the answer within a JSON schema."""

from __future__ import annotations

import json
from typing import Any

import llguidance.hf
import numpy as np
import torch
from llguidance import LLMatcher

from local_server.generation.request import GenerationFault

# one space after , and : as models write JSON; free whitespace lets a small model write blanks for ever
_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class SchemaCompiler:
    """Makes a matcher for each row; the tokenizer's trie is built once."""

    def __init__(self, tokenizer: Any, n_logits: int):
        self._vocabulary = llguidance.hf.from_tokenizer(tokenizer, n_vocab=n_logits)

    def matcher(self, schema: dict[str, Any]) -> Matcher:
        """Raises GenerationFault where the schema says something that cannot be enforced."""
        try:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults=_LAYOUT)
        except ValueError as error:
            raise _unusable(str(error)) from error
        matcher = LLMatcher(self._vocabulary, grammar)
        if matcher.is_error():
            raise _unusable(matcher.get_error())
        return Matcher(matcher)


class Matcher:
    """Where one row stands in its grammar."""

    def __init__(self, matcher: LLMatcher):
        self._matcher = matcher

    def restrict(self, logits: torch.Tensor) -> None:
        """Set the logits, (n_tokens,), of all tokens that may not come next to minus infinity, in place."""
        # not llguidance.torch: it compiles at import
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        allowed = torch.from_numpy(bits[: len(logits)]).to(device=logits.device, dtype=torch.bool)
        logits.masked_fill_(~allowed, -torch.inf)

    def accept(self, token: int) -> bool:
        """Go on by this token; True when the answer is complete."""
        self._matcher.consume_token(token)
        return bool(self._matcher.is_stopped())


def _unusable(reason: str) -> GenerationFault:
    return GenerationFault(
        "INVALID_ARGUMENT",
        f"response_format.json_schema cannot be enforced: {reason.splitlines()[0]}",
        param="response_format",
    )
