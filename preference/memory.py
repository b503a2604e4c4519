"""How much memory training and answering take on the user's own machine, by a model that was measured on one.

Sizes are GB, 1e9 bytes, of resident memory at the peak. A platform that brings its own hardware has none of this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, Field

from preference.bases import PlannedBase

USABLE_SHARE = 0.8  # of the machine: what the local server lets its training jobs hold together
UNKNOWN_SIZE = 1e9  # parameters, where the platform does not say


class MemoryUse(BaseModel):
    """What was measured; GB a unit of what it goes with."""

    process_gb: float = Field(gt=0)  # libraries, before a model is loaded
    gb_per_billion_parameters: float = Field(gt=0)
    training_gb_per_thousand_tokens: float = Field(gt=0)  # of one forward and backward pass, of the measured model
    pairs_a_pass: int = Field(ge=1)
    tokens_a_pass: int = Field(ge=1)  # at most, where a pair alone is not longer
    answering_gb: float = Field(ge=0)  # for what is kept of the answers under way, of the measured model
    others_gb: float = Field(ge=0)  # Prefect, the flow and the server beside them
    measured_parameters: float = Field(gt=0)
    jobs_at_once: int = 1
    machine_gb: float | None = None  # None: not known

    def training_gb(self, base: PlannedBase, batch_size: int) -> float:
        """The peak of one training job; activations go with layers × width, about the root of the parameters."""
        longest = max(1, 2 * base.data.longest_tokens)
        most = max(1, min(self.pairs_a_pass, self.tokens_a_pass // longest))
        pairs = max(n for n in range(1, most + 1) if batch_size % n == 0)
        thousands = pairs * longest / 1000
        return self._loaded_gb(base) + thousands * self.training_gb_per_thousand_tokens * self._width(base)

    def answering_peak_gb(self, base: PlannedBase) -> float:
        """The peak of the process that answers, with one base model loaded and adapters on it."""
        return self._loaded_gb(base) + self.answering_gb * self._width(base)

    def peak_gb(self, bases: Sequence[PlannedBase], batch_size: int) -> float:
        """Of all at once: the largest base trains in every place while the largest one answers."""
        training = max(self.training_gb(base, batch_size) for base in bases)
        return self.jobs_at_once * training + max(self.answering_peak_gb(base) for base in bases) + self.others_gb

    def _loaded_gb(self, base: PlannedBase) -> float:
        return self.process_gb + (base.n_parameters or UNKNOWN_SIZE) / 1e9 * self.gb_per_billion_parameters

    def _width(self, base: PlannedBase) -> float:
        return math.sqrt((base.n_parameters or UNKNOWN_SIZE) / self.measured_parameters)


def memory_text(memory: MemoryUse | None, bases: Sequence[PlannedBase], batch_size: int) -> str:
    """A sentence for the plan."""
    if memory is None:
        return "Memory: the platform's own, priced with its hardware"
    training = max(memory.training_gb(base, batch_size) for base in bases)
    answering = max(memory.answering_peak_gb(base) for base in bases)
    has = "" if memory.machine_gb is None else f"; this machine has {_gb(memory.machine_gb)}"
    jobs = "a training job" if memory.jobs_at_once == 1 else f"each of {memory.jobs_at_once} training jobs"
    return (
        f"Memory at the peak, estimated: {_gb(memory.peak_gb(bases, batch_size))} ({_gb(training)} {jobs}, "
        f"{_gb(answering)} the answers, {_gb(memory.others_gb)} what runs beside them){has}"
    )


def memory_warnings(memory: MemoryUse | None, bases: Sequence[PlannedBase], batch_size: int) -> list[str]:
    """A plan that this machine cannot hold."""
    if memory is None or memory.machine_gb is None:
        return []
    usable = USABLE_SHARE * memory.machine_gb
    if (peak := memory.peak_gb(bases, batch_size)) <= usable:
        return []
    return [
        f"This needs about {_gb(peak)} of memory, and of this machine's {_gb(memory.machine_gb)} {_gb(usable)} can be "
        "used: jobs may be ended for want of it. Take a smaller base model, batch_size or max_context_length."
    ]


def _gb(value: float) -> str:
    return f"{value:.1f} GB" if value < 10 else f"{value:.0f} GB"
