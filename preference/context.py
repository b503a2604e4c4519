"""The context length of a run's jobs: what the request asks for, and what the base models take."""

from __future__ import annotations

from collections.abc import Sequence

from preference import wire
from preference.filling import is_given
from preference.settings import PreferenceRequest

FIELD = "sweep.max_context_length"


class ContextTooLong(ValueError):
    """A base model that does not take the context length asked for; the message names each, and a length that fits."""


def fit_context(request: PreferenceRequest, models: Sequence[wire.Model]) -> tuple[PreferenceRequest, list[str]]:
    """The request with a length that every base takes, and what to tell about it; raises ContextTooLong.

    Only the default gives way. Bases whose limit is unknown take what is asked.
    """
    wanted = request.sweep.max_context_length
    short = {model.name: limit for model in models if (limit := _limit(model)) and wanted > limit}
    if not short:
        return request, []
    told = "; ".join(f"{name} takes at most {limit}" for name, limit in short.items())
    fits = min(short.values()) // 16 * 16
    if is_given(request, FIELD):
        raise ContextTooLong(f"max_context_length is {wanted} tokens, and {told}. Set it to {fits} or less.")
    sweep = request.sweep.model_copy(update={"max_context_length": fits})
    note = f"The context length is {fits} tokens instead of the default of {wanted}: {told}."
    return request.model_copy(update={"sweep": sweep}), [note]


def _limit(model: wire.Model) -> int | None:
    return model.training_context_length or model.context_length
