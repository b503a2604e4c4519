"""TRL's fused LM head on a CPU: score the completion's positions alone, in small tiles.

trl 1.16 does so on a GPU. Elsewhere it scores every position, prompts and padding included, which on a CPU is
a third of a step's time and most of its memory. The result is the same; the names are private to trl, so they
are looked for first, and where they are gone training runs on unpatched, only slower.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

TILE_TOKENS = 512  # rows of logits at a time; 4,096 in trl
_log = logging.getLogger(__name__)


def use_compact_head() -> bool:
    """Apply the change to this process; False where trl no longer has what it hangs on."""
    import trl.kernels.chunked_logprob as kernel
    import trl.trainer.utils as head

    if not (_is_device_test(getattr(head, "_use_triton", None)) and hasattr(kernel, "TOKEN_CHUNK_SIZE")):
        _log.warning("this trl has no compact head to turn on; training takes more time and memory")
        return False
    # the head's copy of the name only: the kernel module keeps its own, and so its torch code path
    head._use_triton = lambda device: True
    kernel.TOKEN_CHUNK_SIZE = TILE_TOKENS
    return True


def _is_device_test(function: Callable[..., Any] | None) -> bool:
    import torch

    return callable(function) and function(torch.device("cpu")) in (True, False)
