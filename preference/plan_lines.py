"""The lines of a plan's bill: what training, sampling, scoring and the first hour cost, and how long they take."""

from __future__ import annotations

from collections.abc import Sequence

from preference.bases import Champion, DataSize, PlannedBase, common_opponent
from preference.cost import (
    SCALE_DOWN_S,
    TIME_SPREAD,
    TRAINING_SPREAD,
    CostLine,
    PriceBook,
    total,
    training_tokens,
)
from preference.judge_plan import JudgePlan, judge_lines
from preference.pair_plan import GUESSED_SPREAD
from preference.settings import PreferenceRequest
from preference.trials import Trial

# the lines of the bill
TRAINING = "Training"
SAMPLING = "Held-out sampling"
EVALUATOR = "Evaluator"
FIRST_HOUR = "Winner's deployment, first hour"


def base_of(bases: Sequence[PlannedBase], trial: Trial) -> PlannedBase:
    """The base that the trial tunes."""
    return next(base for base in bases if base.model.name == trial.base_model)


def cost_lines(
    request: PreferenceRequest,
    trials: Sequence[Trial],
    bases: Sequence[PlannedBase],
    prices: PriceBook,
    champion: Champion | None = None,
    judge: JudgePlan | None = None,
    n_trainings: int = 1,
) -> list[CostLine]:
    """Training, held-out sampling, evaluator or judge, and the winner's first hour, in that order.

    n_trainings: see Plan.
    """
    speed = prices.throughput
    data = bases[0].data
    jobs = [job_line(base_of(bases, trial), trial, prices) for trial in trials]
    tokens = sum(job_tokens(base_of(bases, trial), trial) for trial in trials)
    n_models = len(trials) + len(bases) + (champion is not None)  # the bases answer, too
    n_answers = n_models * data.n_held_out
    answer_tokens = n_answers * request.sampling.max_tokens
    n_starts = evaluation_starts(request, len(trials), bases, n_trainings)
    models_of = [trial.base_model for trial in trials] + ([champion.base] if champion else [])
    slow = [  # how many times as long each model that answers takes
        speed.seconds_for_size(base.n_parameters)
        for base in bases
        for _ in range(1 + sum(name in (base.model.name, base.name) for name in models_of))
    ]
    tokens_a_model = data.n_held_out * request.sampling.max_tokens
    sampling_s = n_starts * speed.deployment_start_s + tokens_a_model * sum(slow) / speed.generation_tokens_per_s
    accelerator = (request.serving.accelerator_type, request.serving.accelerator_count)
    if judge is None:
        # it runs here, without network: nothing is bought
        what, seconds = f"{n_answers:,} answers, on this machine", n_answers / speed.evaluator_rows_per_s
        scoring = [CostLine.spread(EVALUATOR, what, 0.0, seconds, TIME_SPREAD)]
    else:
        prompt = max(base.data.held_out_prompt_tokens for base in bases) / max(data.n_held_out, 1)
        scoring = judge_lines(judge, request, prices, judged_prompts(trials, bases, champion), prompt)
    return [
        CostLine.spread(
            TRAINING,
            f"{len(trials)} {'job' if len(trials) == 1 else 'jobs'}, {tokens:,} tokens",
            total(jobs).usd,
            total(jobs).seconds,
            _training_spread(bases[0].data),
        ),
        CostLine.spread(
            SAMPLING,
            f"{n_models} models × {data.n_held_out} prompts, at most {answer_tokens:,} tokens",
            prices.accelerator_usd((sampling_s + n_starts * SCALE_DOWN_S) / 3600, *accelerator),
            sampling_s,
            TIME_SPREAD,
        ),
        *scoring,
        CostLine.spread(
            FIRST_HOUR,
            prices.accelerator_text(*accelerator),
            prices.accelerator_usd(1.0, *accelerator),
            speed.deployment_start_s,
            (1.0, 1.0),
        ),
    ]


def evaluation_starts(
    request: PreferenceRequest, n_trials: int, bases: Sequence[PlannedBase], n_trainings: int = 1
) -> int:
    """How often a deployment to evaluate on is started, at most.

    Each is taken down after its batch, the last one of a single base after the confirmation, too. With several bases
    the winner's and the opponent's come up again to confirm. With a target every model is a batch of its own.
    n_trainings: the rungs of successive halving and the full one, or a search's batches.
    """
    has_target = request.target_win_rate is not None or request.target_score is not None
    n_batches = n_trials if has_target else len(bases) * n_trainings
    if len(bases) == 1:
        return n_batches
    first = has_target or not request.evaluator  # the opponent answers before those that are held against it
    return n_batches + first + (2 if bases[0].data.n_confirmation else 0)


def judged_prompts(trials: Sequence[Trial], bases: Sequence[PlannedBase], champion: Champion | None) -> tuple[int, int]:
    """Answers that a judge compares on the half that chooses and on the one that confirms, each in both orders.

    All but the opponent play it, a champion on both halves; a tuned model whose base is another one plays that, too.
    """
    data, opponent = bases[0].data, common_opponent(bases)
    tuned = [base_of(bases, trial).name for trial in trials]
    served = [champion.base] if champion else []
    n_away, n_served = sum(base != opponent for base in tuned), sum(1 + (base != opponent) for base in served)
    n_plays = len(tuned) + n_away + len(bases) - 1 + n_served
    return n_plays * data.n_selection, ((2 if n_away else 1) + n_served) * data.n_confirmation


def _training_spread(data: DataSize) -> tuple[float, float]:
    """Low and high of a training price; wider where the answers are still to be written."""
    (low, high), (shortest, longest) = TRAINING_SPREAD, GUESSED_SPREAD if data.guessed else (1.0, 1.0)
    return low * shortest, high * longest


def job_tokens(base: PlannedBase, trial: Trial) -> int:
    data = base.data
    sizes = (data.train_prompt_tokens, data.train_chosen_tokens, data.train_rejected_tokens)
    return round(trial.share * training_tokens(*sizes, trial.epochs))


def job_line(base: PlannedBase, trial: Trial, prices: PriceBook) -> CostLine:
    tokens, speed = job_tokens(base, trial), prices.throughput
    return CostLine.spread(
        TRAINING,
        f"{trial.job_id}, {tokens:,} tokens",
        prices.training_usd(tokens, base.n_parameters),
        speed.job_overhead_s + tokens * speed.seconds_for_size(base.n_parameters) / speed.training_tokens_per_s,
        _training_spread(base.data),
    )
