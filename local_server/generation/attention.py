"""Attention of one new token to a cache, for models whose query heads share key and value heads.

transformers copies keys and values once a query head when there is a padding mask. For a single new token the
query heads of a group can stand where a sequence's positions would, and nothing is copied: on a CPU a third
of a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "grouped_sdpa"


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # (rows, query heads, new positions, head size)
    key: torch.Tensor,  # (rows, key heads, positions, head size)
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # (rows, 1, new positions, positions)
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """(rows, new positions, query heads, head size), as scaled dot product attention gives it."""
    rows, heads, new, size = query.shape
    groups = key.shape[1]
    if new != 1 or heads == groups or heads % groups:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
        return output, None
    output = scaled_dot_product_attention(
        query.reshape(rows, groups, heads // groups, size), key, value, attn_mask=attention_mask, scale=scaling
    )
    return output.reshape(rows, 1, heads, size), None


def register() -> None:
    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
