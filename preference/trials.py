"""Which trials a request asks for: the product of its grid, exactly; where it names none, defaults by model size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import TypeVar

from pydantic import BaseModel

from preference import wire
from preference.session import resource
from preference.settings import PreferenceRequest
from preference.settings_sweep import Grid, Method

T = TypeVar("T")

# LoRA learning rates for bases up to so many parameters, a log grid around what is known to work there. The middle
# one is taken where a single one is wanted.
_RATES: tuple[tuple[float, tuple[float, float, float]], ...] = (
    # measured on SmolLM2-135M with the packaged example, one epoch: up to 3e-4 no effect, 4e-4 to 6e-4 learn, 1e-3
    # collapses (README; docs/log.md)
    (0.5e9, (2.5e-4, 5e-4, 1e-3)),
    (16e9, (5e-6, 1e-5, 2e-5)),  # 5e-6: Zephyr-7B QLoRA; 1e-5: TRL's advice for LoRA, the Fireworks cookbook
    (math.inf, (2e-6, 5e-6, 1e-5)),  # Tülu 3 takes 2e-7 for 70B, 2/5 of 8B's 5e-7 (full tuning; LoRA about x 10)
)
_UNKNOWN_SIZE = 8e9
_BETAS = (0.1, 0.3)  # 0.1: arXiv:2305.18290, appendix B; higher keeps closer to the base
_LAMBDAS = (1.0,)  # the Fireworks cookbook's
RANKS = (8,)  # the API's default
EPOCHS = (1,)  # one first, as Tülu 3 and Zephyr have it


class Trial(BaseModel):
    """One combination of the sweep: one job, one tuned model."""

    name: str  # t1, t2, ... in the grid's order
    method: Method
    learning_rate: float
    beta: float | None  # DPO
    orpo_lambda: float | None  # ORPO
    lora_rank: int
    epochs: int
    batch_size: int
    max_context_length: int
    base_model: str  # full name
    base_label: str = ""  # names it in the label, where there are several
    share: float = 1.0  # of the training pairs; less on a rung of successive halving
    drawn: bool = True  # no: a search has not said its settings yet, and these are as dear as any that it may say
    job_id: str  # chosen before the job is asked for; the tuned model bears it, too

    @property
    def strength(self) -> str:
        return f"beta {self.beta:g}" if self.beta is not None else f"lambda {self.orpo_lambda:g}"

    @property
    def label(self) -> str:
        if not self.drawn:
            return "not drawn"
        settings = f"{self.method} lr {self.learning_rate:g}, {self.strength}, rank {self.lora_rank}, {self.epochs} ep."
        part = "" if self.share == 1 else f", {self.share:.0%} of the pairs"
        return (f"{self.base_label}: {settings}" if self.base_label else settings) + part

    def job_spec(self, dataset: str) -> wire.DpoJob:
        """The job to create; dataset is a full name."""
        if self.method is Method.DPO:
            loss = wire.LossConfig(method="DPO", dpo=wire.DpoLoss(beta=self.beta))
        else:
            loss = wire.LossConfig(method="ORPO", orpo=wire.OrpoLoss(orpo_lambda=self.orpo_lambda))
        return wire.DpoJob(
            display_name=f"{self.name}: {self.label}"[:63],
            dataset=dataset,
            loss_config=loss,
            training_config=wire.TrainingConfig(
                base_model=self.base_model,
                output_model=self.job_id,
                learning_rate=self.learning_rate,
                epochs=self.epochs,
                lora_rank=self.lora_rank,
                batch_size_samples=self.batch_size,
                max_context_length=self.max_context_length,
            ),
        )


def is_explicit(request: PreferenceRequest) -> bool:
    """Whether the request says itself what to try. Then nothing is added to it, and nothing is left out."""
    grid = request.sweep
    return bool(grid.learning_rates or grid.betas or grid.orpo_lambdas or grid.lora_ranks or grid.epochs)


class Breadth(IntEnum):
    """How many values a setting has that the request does not name."""

    MIDDLE = 0  # one each
    RATES = 1  # the learning rates of its size
    WIDE = 2  # learning rates and betas


def breadth(request: PreferenceRequest, n_bases: int) -> Breadth:
    """An explicit grid is taken as it is. One base is swept; of several named ones the learning rates are, since
    those differ most between models; a model sweep first finds the base, with one trial each.
    """
    if is_explicit(request):
        return Breadth.MIDDLE
    if n_bases == 1:
        return Breadth.WIDE
    return Breadth.RATES if request.base_models else Breadth.MIDDLE


def grid_trials(session: str, request: PreferenceRequest, bases: Sequence[wire.Model]) -> list[Trial]:
    """The product over bases, methods, learning rates, beta or lambda, ranks and epochs, in that order.

    What decides most varies slowest. Without a grid the defaults of the base's size are swept (see `breadth`); in an
    explicit one a setting that is not named has one value, its size's middle one.
    """
    combinations: list[tuple[wire.Model, Method, float, float, int, int]] = []
    wide = breadth(request, len(bases))
    for base in bases:
        for method in _distinct(request.methods):
            combinations += itertools.product([base], [method], *_values(request.sweep, base, method, wide))
    return [
        Trial(
            name=f"t{n}",
            method=method,
            learning_rate=rate,
            beta=strength if method is Method.DPO else None,
            orpo_lambda=strength if method is Method.ORPO else None,
            lora_rank=rank,
            epochs=epochs,
            batch_size=request.sweep.batch_size,
            max_context_length=request.sweep.max_context_length,
            base_model=base.name,
            base_label=wire.resource_id(base.name) if len(bases) > 1 else "",
            job_id=resource(session, f"t{n}"),
        )
        for n, (base, method, rate, strength, rank, epochs) in enumerate(combinations, start=1)
    ]


def too_many_examples(trials: Sequence[Trial], n_train: int) -> str:
    """Why the platform would refuse the longest of these jobs on so many pairs; "" where it would not."""
    epochs = max(trial.epochs for trial in trials)
    if n_train * epochs <= wire.MAX_EXAMPLES:
        return ""
    return (
        f"{n_train:,} training pairs for {epochs} epochs are {n_train * epochs:,} examples, and a job takes "
        f"{wire.MAX_EXAMPLES:,} at most. Ask for {_most(wire.MAX_EXAMPLES // n_train)}, or take rows out of the file."
    )


def _most(epochs: int) -> str:
    return "1 epoch" if epochs == 1 else f"{epochs} epochs at most"


def grid_size(request: PreferenceRequest, bases: Sequence[wire.Model]) -> int:
    """How many trials a grid has that tries what is given, and the defaults of all that is left open."""
    return sum(
        math.prod(len(values) for values in _values(request.sweep, base, method, Breadth.WIDE))
        for base in bases
        for method in _distinct(request.methods)
    )


def _values(
    grid: Grid, base: wire.Model, method: Method, wide: Breadth
) -> tuple[Sequence[float], Sequence[float], Sequence[int], Sequence[int]]:
    """Learning rates, betas or lambdas, ranks and epochs for one method."""
    given, strengths = (grid.betas, _BETAS) if method is Method.DPO else (grid.orpo_lambdas, _LAMBDAS)
    rates = default_rates(base.base_model_details.parameter_count if base.base_model_details else None)
    return (
        _distinct(grid.learning_rates) or (rates if wide >= Breadth.RATES else rates[1:2]),
        _distinct(given) or (strengths if wide is Breadth.WIDE else strengths[:1]),
        _distinct(grid.lora_ranks) or RANKS,
        _distinct(grid.epochs) or EPOCHS,
    )


def default_rates(n_parameters: float | None) -> tuple[float, float, float]:
    """Three LoRA learning rates for a base of that size; an unknown size is taken for the most usual one."""
    size = _UNKNOWN_SIZE if n_parameters is None else n_parameters
    return next(rates for most, rates in _RATES if size <= most)


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))
