"""Which two models write the pairs, where the user names none: far apart in size, of one family, at a known price.

What makes a good delta is a clear gap (arXiv 2507.06187: 3B over 1.5B; OLMo 3, arXiv 2512.13961: 32B over 0.6B), so
the largest and the smallest of the base model's family are taken, if they are far enough apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from preference.cost import PriceBook
from preference.settings_models import Serving
from preference.wire import Model, resource_id

MIN_SIZE_RATIO = 2.0  # the paper's main pair, 3B over 1.5B
BYTES_A_PARAMETER = 2  # bf16
WEIGHTS_SHARE = 0.8  # of an accelerator's memory: the rest is for the cache

_SIZE = re.compile(r"(?<![a-z0-9])(\d+(?:[p.]\d+)?[bm])(?![a-z0-9])")
_MEMORY = re.compile(r"_(\d+)GB$")


class NoModelPair(ValueError):
    """No two models can be picked; the message says what to name."""


def family(model: Model) -> str:
    """What models of other sizes have in common in their IDs: qwen3-32b and qwen3-0p6b are of qwen3-*."""
    return _SIZE.sub("*", resource_id(model.name).casefold())


def pick_models(base: Model, catalogue: Iterable[Model], prices: PriceBook, serving: Serving) -> tuple[Model, Model]:
    """The strong and the weak model, both of the base's family. Raises NoModelPair.

    A model is left out where its size is not known, where it does not fit onto the accelerators that are asked for,
    or where these have no price.
    """
    relatives = {m.name: m for m in (base, *catalogue) if family(m) == family(base) and _size(m) and _is_base(m)}
    by_size = sorted(relatives.values(), key=lambda m: (_size(m), m.name))
    fitting = [m for m in by_size if _fits(m, serving)]
    what_to_do = (
        "Name both, `pairs.strong` and `pairs.weak` (a larger and a smaller model of one family is a good choice; "
        "tuned models may be named, too), or stop and give pairs instead of prompts."
    )
    if prices.accelerator_usd(1.0, serving.accelerator_type, serving.accelerator_count) is None:
        raise NoModelPair(
            f"{serving.accelerator_type} has no price in {prices.name}: no models are picked. {what_to_do}"
        )
    if len(fitting) < 2 or _size(fitting[-1]) < MIN_SIZE_RATIO * _size(fitting[0]):
        known = ", ".join(resource_id(m.name) for m in fitting) or "none"
        raise NoModelPair(
            f"The dataset has prompts without answers, and of {resource_id(base.name)}'s family the platform has no "
            f"two models with one at least {MIN_SIZE_RATIO:g} times the other's size (found: {known}). {what_to_do}"
        )
    return fitting[-1], fitting[0]


def _is_base(model: Model) -> bool:
    return model.peft_details is None and model.state in ("READY", "STATE_UNSPECIFIED")


def _size(model: Model) -> float:
    details = model.base_model_details
    return float(details.parameter_count or 0) if details else 0.0


def _fits(model: Model, serving: Serving) -> bool:
    """Whether the weights leave room in the accelerators' memory; unknown memory is not held against a model."""
    memory = _MEMORY.search(serving.accelerator_type)
    if memory is None:
        return True
    room = float(memory[1]) * 1e9 * serving.accelerator_count * WEIGHTS_SHARE
    return _size(model) * BYTES_A_PARAMETER <= room
