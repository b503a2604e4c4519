"""A search instead of a grid: Optuna's TPE draws trials in batches, each from what all before it came to.

Nothing is kept by Optuna: a draw is made anew from the trials and what each was worth, so that the session's folder is
the only truth, and a draw can be checked. Multivariate, and with the constant liar: what is drawn and not yet known
counts as poor, so that a batch spreads out.

With several base models each has a study of its own, and the trials are shared out in turn. The other way, the base as
one more choice of a single study, would drop a base after a first batch of one or two trials, mix learning rates that
differ by the model's size, and leave the price of a trial unknown until it is drawn. So no trials move from a weak base
to a strong one: who knows the better base names it alone.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from preference import wire
from preference.comparison import flags_of, scores_of
from preference.session import resource
from preference.settings import PreferenceRequest
from preference.settings_sweep import Method
from preference.standings import ScoredAnswer
from preference.trials import EPOCHS, RANKS, Trial, default_rates, grid_size

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.trial import FrozenTrial

_BETAS = (0.01, 0.3)  # 0.01, 0.05 and 0.1 are tried for DPO in arXiv:2405.14734; above it the grid's second one
_LAMBDAS = (0.1, 1.0)  # 0.1 to 0.25: arXiv:2403.07691; 1: the Fireworks cookbook's
_BEYOND = 2.0  # how far the learning rates go beyond the grid's lowest and highest, as a factor
_REDRAWS = 20  # where a draw comes out as a trial that is there already


class SearchRefused(ValueError):
    """There is nothing to search; the message says what to do."""


class Space(BaseModel):
    """What may be drawn: a (lowest, highest) by its logarithm, or one of several. Equal ends, or one: not searched."""

    base_model: str  # full name
    learning_rate: tuple[float, float]
    methods: list[Method]
    beta: tuple[float, float] | None  # DPO
    orpo_lambda: tuple[float, float] | None  # ORPO
    lora_ranks: list[int]
    epochs: list[int]

    @classmethod
    def of(cls, request: PreferenceRequest, base: wire.Model) -> Space:
        """Lists of the request are the ends of a range, or the choices; what it leaves open has the size's range."""
        grid, details = request.sweep, base.base_model_details
        rates = default_rates(details.parameter_count if details else None)
        return cls(
            base_model=base.name,
            learning_rate=_ends(grid.learning_rates, (rates[0] / _BEYOND, rates[-1] * _BEYOND)),
            methods=sorted(set(request.methods)),
            beta=_ends(grid.betas, _BETAS) if Method.DPO in request.methods else None,
            orpo_lambda=_ends(grid.orpo_lambdas, _LAMBDAS) if Method.ORPO in request.methods else None,
            lora_ranks=sorted(set(grid.lora_ranks)) or list(RANKS),
            epochs=sorted(set(grid.epochs)) or list(EPOCHS),
        )

    @property
    def n_combinations(self) -> float:
        """Infinite where anything is a range."""
        ranges = [r for r in (self.learning_rate, self.beta, self.orpo_lambda) if r is not None]
        if any(low < high for low, high in ranges):
            return float("inf")
        return len(self.methods) * len(self.lora_ranks) * len(self.epochs)


class Search(BaseModel):
    """How many trials are drawn from which spaces, and how many side by side: as many as there are slots."""

    spaces: list[Space]  # one a base model, in the order of the bases
    n_trials: int  # of all bases together
    batch_size: int
    n_grid: int  # trials of a grid over the same settings, to compare with

    @classmethod
    def of(cls, request: PreferenceRequest, bases: Sequence[wire.Model]) -> Search:
        """Raises SearchRefused where a grid would try all that there is, or a base has no trial to learn from."""
        spaces, n = [Space.of(request, base) for base in bases], request.sweep.n_trials
        if n < 2 * len(spaces):
            raise SearchRefused(
                f"strategy tpe would draw {n} trials for {len(spaces)} base models, and each needs 2 at least. Set "
                f"sweep.n_trials to {2 * len(spaces)} or more, name fewer, or take strategy grid."
            )
        if (each := spaces[0].n_combinations) * len(spaces) <= n:
            of_each = "" if len(spaces) == 1 else f", {each:g} for each base model"
            raise SearchRefused(
                f"strategy tpe would draw {n} trials, and the sweep has {each * len(spaces):g} combinations in "
                f"all{of_each}. Take strategy grid, which tries each of them, or give two learning rates or betas as "
                "the ends of a range."
            )
        size = min(request.max_active_jobs, n)
        return cls(spaces=spaces, n_trials=n, batch_size=size, n_grid=grid_size(request, bases))

    def space_of(self, trial: Trial) -> Space:
        """Its base model's."""
        return next(space for space in self.spaces if space.base_model == trial.base_model)

    @property
    def n_at_random(self) -> int:
        """Trials of a base model before its study is asked: those of the first batch, when nothing is known."""
        return -(-self.batch_size // len(self.spaces))

    @property
    def n_batches(self) -> int:
        return -(-self.n_trials // self.batch_size)

    @property
    def seed(self) -> int:
        """Of the search itself, so that the same request draws the same."""
        return int.from_bytes(hashlib.sha256(self.model_dump_json().encode()).digest()[:4])


class Batch(BaseModel):
    """Trials that were drawn side by side, and what was known then: each earlier trial's worth, None for none."""

    known: dict[str, float | None]
    trials: list[Trial]


class Draws(BaseModel):
    """search.json: all batches so far, each written before its first job is asked for."""

    batches: list[Batch] = []

    @property
    def trials(self) -> list[Trial]:
        return [trial for batch in self.batches for trial in batch.trials]


def stand_ins(search: Search, session: str, request: PreferenceRequest) -> list[Trial]:
    """The plan's trials before they are drawn: under their names and job IDs, each as dear as any of its base.

    The bases take turns, so that a batch has some of each.
    """
    return [
        Trial(
            name=f"t{n}",
            batch_size=request.sweep.batch_size,
            max_context_length=request.sweep.max_context_length,
            base_model=space.base_model,
            base_label=wire.resource_id(space.base_model) if len(search.spaces) > 1 else "",
            drawn=False,
            job_id=resource(session, f"t{n}"),
            **_dearest(space),
        )
        for n, space in zip(range(1, search.n_trials + 1), itertools.cycle(search.spaces), strict=False)
    ]


def _dearest(space: Space) -> dict[str, Any]:
    first = space.methods[0]
    return {
        "method": first,
        "learning_rate": space.learning_rate[1],
        "beta": space.beta[1] if space.beta and first is Method.DPO else None,
        "orpo_lambda": space.orpo_lambda[1] if space.orpo_lambda and first is Method.ORPO else None,
        "lora_rank": space.lora_ranks[-1],
        "epochs": space.epochs[-1],
    }


def draw_batch(
    search: Search, planned: Sequence[Trial], drawn: Sequence[Trial], known: Mapping[str, float | None]
) -> Batch:
    """The next trials. planned: the plan's stand-ins; drawn: all before them; known: what these were worth.

    A trial is drawn from what those on the same base model came to.
    The same arguments give the same trials. The first batch is drawn at random, since nothing is known.
    """
    batch: list[Trial] = []
    for stand_in in planned[len(drawn) : len(drawn) + search.batch_size]:
        same_base = [trial for trial in (*drawn, *batch) if trial.base_model == stand_in.base_model]
        batch.append(_draw(search, stand_in, same_base, known))
    return Batch(known=dict(known), trials=batch)


def _draw(search: Search, stand_in: Trial, before: Sequence[Trial], known: Mapping[str, float | None]) -> Trial:
    seen = [_settings(trial) for trial in before]
    for attempt in range(_REDRAWS):
        trial = stand_in.model_copy(update=_suggested(search, stand_in, attempt, before, known))
        if _settings(trial) not in seen:
            break
    return trial


def _suggested(
    search: Search, stand_in: Trial, attempt: int, before: Sequence[Trial], known: Mapping[str, float | None]
) -> dict[str, Any]:
    """What the sampler makes of what is known. Its seed is this trial's own: no state goes from draw to draw."""
    import optuna  # half a second, and most runs have no search

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seed = int.from_bytes(hashlib.sha256(f"{search.seed} {stand_in.name} {attempt}".encode()).digest()[:4])
    sampler = optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=search.n_at_random, multivariate=True, constant_liar=True
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    space = search.space_of(stand_in)
    every = _distributions(space)
    study.add_trials([_as_known(trial, every, known) for trial in before])
    asked = study.ask()

    def draw(what: str, otherwise: Any) -> Any:
        among = every.get(what)
        if among is None:
            return otherwise
        if isinstance(among, optuna.distributions.FloatDistribution):
            return asked.suggest_float(what, among.low, among.high, log=among.log)
        return asked.suggest_categorical(what, among.choices)

    method = Method(draw("method", space.methods[0]))
    found = {
        "drawn": True,
        "method": method,
        "learning_rate": _rounded(draw("learning_rate", space.learning_rate[0]), space.learning_rate),
        "beta": None,
        "orpo_lambda": None,
        "lora_rank": draw("lora_rank", space.lora_ranks[0]),
        "epochs": draw("epochs", space.epochs[0]),
    }
    strength, ends = ("beta", space.beta) if method is Method.DPO else ("orpo_lambda", space.orpo_lambda)
    assert ends is not None
    return {**found, strength: _rounded(draw(strength, ends[0]), ends)}


def _distributions(space: Space) -> dict[str, FloatDistribution | CategoricalDistribution]:
    """Only what is searched."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    found: dict[str, FloatDistribution | CategoricalDistribution] = {}
    for what in ("learning_rate", "beta", "orpo_lambda"):
        ends = getattr(space, what)
        if ends is not None and ends[0] < ends[1]:
            found[what] = FloatDistribution(*ends, log=True)
    choices: dict[str, Sequence[Any]] = {
        "method": [str(method) for method in space.methods],
        "lora_rank": space.lora_ranks,
        "epochs": space.epochs,
    }
    return found | {what: CategoricalDistribution(of) for what, of in choices.items() if len(of) > 1}


def _as_known(trial: Trial, every: Mapping[str, BaseDistribution], known: Mapping[str, float | None]) -> FrozenTrial:
    """One of worth None is pruned, which ranks behind all that have one; an open one is still running."""
    from optuna.trial import TrialState, create_trial

    params = {what: getattr(trial, what) for what in every if getattr(trial, what) is not None}
    params = {what: str(value) if what == "method" else value for what, value in params.items()}
    worth = known.get(trial.name)
    state = TrialState.RUNNING if trial.name not in known else TrialState.PRUNED
    return create_trial(
        state=state if worth is None else TrialState.COMPLETE,
        value=worth,
        params=params,
        distributions={what: every[what] for what in params},
    )


def worth(answers: Sequence[ScoredAnswer], base: Sequence[ScoredAnswer]) -> float | None:
    """What the search is told of a candidate: its mean on the prompts that choose, as far as it was judged.

    None where it has a flag (collapsed, empty, unchanged answers) or no score: it ranks behind all others.
    """
    asked = [answer for answer in answers if not answer.left_out]
    read = [score for score in scores_of(asked) if score == score]
    return None if flags_of(asked, base) or not read else fmean(read)


def _ends(given: Sequence[float], otherwise: tuple[float, float]) -> tuple[float, float]:
    return (min(given), max(given)) if given else otherwise


def _rounded(value: float, ends: tuple[float, float]) -> float:
    """To three digits, which is what tables show, so that the value shown is the one trained with."""
    return min(max(float(f"{value:.3g}"), ends[0]), ends[1])


def _settings(trial: Trial) -> tuple[object, ...]:
    return (trial.method, trial.learning_rate, trial.beta, trial.orpo_lambda, trial.lora_rank, trial.epochs)
