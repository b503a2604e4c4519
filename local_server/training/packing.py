"""A preference pair as one sequence: what chosen and rejected begin with is there once, then either's own tail.

    tokens     prompt  common | chosen tail | rejected tail
    positions  0 ........ p-1 | p ......... | p ...........

The mask lets the rejected tail see the common part and itself alone, so both sides get the numbers that they would get
as two sequences, and the prompt, often the longest part, is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch


@dataclass(frozen=True)
class Prediction:
    """One token that one position predicts, and whose log-prob it is part of."""

    position: int
    token: int
    in_chosen: bool  # a token of the chosen completion
    in_rejected: bool
    in_text: bool  # a token of the prompt or of the chosen completion, for losses over both


@dataclass(frozen=True)
class PackedPair:
    tokens: list[int]
    n_common: int  # tokens that both sides begin with
    n_chosen: int  # tokens of the chosen side's own tail
    predictions: list[Prediction]
    n_tokens: int  # of both sides as two sequences


def pack(chosen: Sequence[int], rejected: Sequence[int], n_prompt: int, *, with_prompt: bool = False) -> PackedPair:
    """chosen, rejected: prompt and completion, n_prompt: how many of their tokens are prompt, at least 1.

    with_prompt: predict the prompt's tokens, too.
    """
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False)))
    n_chosen = len(chosen) - common
    predicted = [
        Prediction(t - 1, chosen[t], t >= n_prompt, n_prompt <= t < common, True)
        for t in range(1 if with_prompt else n_prompt, len(chosen))
    ]
    predicted += [
        # the rejected tail stands behind the chosen one
        Prediction(t - 1 if t <= common else t - 1 + n_chosen, rejected[t], False, True, False)
        for t in range(max(n_prompt, common), len(rejected))
    ]
    return PackedPair([*chosen, *rejected[common:]], common, n_chosen, predicted, len(chosen) + len(rejected))


def positions(pair: PackedPair) -> list[int]:
    n_rejected = len(pair.tokens) - pair.n_common - pair.n_chosen
    tail = range(pair.n_common, pair.n_common + n_rejected)
    return [*range(pair.n_common + pair.n_chosen), *tail]


def attention_mask(pairs: Sequence[PackedPair], length: int) -> torch.Tensor:
    """(pairs, 1, length, length), True where a position may look. Padding looks at itself, so no row is empty."""
    mask = torch.tril(torch.ones(length, length, dtype=torch.bool)).repeat(len(pairs), 1, 1)
    for i, pair in enumerate(pairs):
        tail = pair.n_common + pair.n_chosen
        mask[i, tail:, pair.n_common : tail] = False
        mask[i, len(pair.tokens) :] = False
    mask |= torch.eye(length, dtype=torch.bool)
    return mask.unsqueeze(1)


def padded_positions(pairs: Sequence[PackedPair], length: int) -> torch.Tensor:
    """(pairs, length)"""
    return torch.tensor([[*positions(pair), *[0] * (length - len(pair.tokens))] for pair in pairs])


@dataclass(frozen=True)
class Predictions:
    """All predictions of a batch in one list; a column each, (n,)."""

    rows: torch.Tensor
    positions: torch.Tensor
    tokens: torch.Tensor
    in_chosen: torch.Tensor  # bool, as the next two
    in_rejected: torch.Tensor
    in_text: torch.Tensor

    def sums(self, values: torch.Tensor, n_pairs: int) -> tuple[torch.Tensor, torch.Tensor]:
        """values: (n,), such as log-probs. Their sums over each pair's chosen completion, and over its rejected one."""
        zero = torch.zeros(n_pairs, dtype=values.dtype)
        return (
            zero.index_add(0, self.rows, values * self.in_chosen),
            zero.index_add(0, self.rows, values * self.in_rejected),
        )


def predictions(pairs: Sequence[PackedPair]) -> Predictions:
    entries = [
        (row, p.position, p.token, p.in_chosen, p.in_rejected, p.in_text)
        for row, pair in enumerate(pairs)
        for p in pair.predictions
    ]
    return Predictions(*(torch.tensor(column) for column in zip(*entries, strict=True)))
