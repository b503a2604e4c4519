import pytest

from preference.plan import PlanRefused
from preference.plan_lines import TRAINING, evaluation_starts
from preference.plan_page import plan_markdown
from preference.search import Batch, Draws, Search, draw_batch, worth
from preference.search_text import draws_text
from preference.settings_sweep import Method
from preference.standings import ScoredAnswer
from preference.trials import Trial
from tests.preference.test_bases import bases, data, plan

TPE = {"base_model": "small", "strategy": "tpe"}


def searched(n_trials: int = 12, **fields):
    return plan(bases(small=data()), **{**TPE, "sweep": {"n_trials": n_trials, **fields.pop("sweep", {})}, **fields})


def rates(batch: Batch) -> list[float]:
    return [trial.learning_rate for trial in batch.trials]


def test_lists_become_ranges_and_choices_and_what_is_left_open_goes_by_the_models_size():
    space = searched(sweep={"learning_rates": [1e-4, 3e-5, 1e-3], "lora_ranks": [16, 8]}).search.spaces[0]
    assert space.learning_rate == (3e-5, 1e-3)
    assert space.lora_ranks == [8, 16]
    assert (space.beta, space.orpo_lambda, space.epochs) == ((0.01, 0.3), None, [1])
    both = searched(methods=["ORPO", "DPO"]).search.spaces[0]
    assert both.learning_rate == (2.5e-6, 4e-5)  # for 8 billion parameters
    assert (both.methods, both.orpo_lambda) == ([Method.DPO, Method.ORPO], (0.1, 1.0))


def test_the_plan_has_ids_and_the_dearest_price_before_anything_is_drawn():
    made = searched(sweep={"epochs": [1, 3]})
    assert [t.job_id for t in made.trials[:2]] == ["pw-1779157376-41e1-t1", "pw-1779157376-41e1-t2"]
    assert {(t.epochs, t.label) for t in made.trials} == {(3, "not drawn")}
    grid = plan(bases(small=data()), base_model="small", sweep={"epochs": [3], "learning_rates": [1e-5]})
    assert made.lines[0].what == TRAINING
    assert made.lines[0].usd == pytest.approx(12 * grid.lines[0].usd)
    assert evaluation_starts(made.request, 12, made.bases, made.n_trainings) == 2  # a deployment a batch
    page = plan_markdown(made)
    assert "Search by TPE (Optuna): 12 trials in 2 batches of at most 6." in page
    assert "| epochs | 1 or 3 |" in page
    assert "| t1 |" not in page


def test_the_same_request_and_the_same_results_draw_the_same_trials():
    made, again = searched(), searched()
    first = draw_batch(made.search, made.trials, [], {})
    assert first == draw_batch(again.search, again.trials, [], {})
    assert len(set(rates(first))) == 6
    assert [t.name for t in first.trials] == ["t1", "t2", "t3", "t4", "t5", "t6"]
    known = {t.name: 0.1 for t in first.trials}
    second = draw_batch(made.search, made.trials, first.trials, known)
    assert second == draw_batch(again.search, again.trials, first.trials, known)
    other = draw_batch(made.search, made.trials, first.trials, {**known, "t3": 0.9})
    assert rates(second) != rates(other)
    assert rates(draw_batch(searched(n_trials=13).search, made.trials, [], {})) != rates(first)


def test_what_is_drawn_lies_in_the_space_and_is_what_the_tables_show():
    made = searched(n_trials=40, methods=["DPO", "ORPO"], sweep={"lora_ranks": [8, 16], "epochs": [1, 2]})
    drawn: list[Trial] = []
    while len(drawn) < 40:
        drawn += draw_batch(made.search, made.trials, drawn, {t.name: 1 / (1 + n) for n, t in enumerate(drawn)}).trials
    [space] = made.search.spaces
    for trial in drawn:
        low, high = space.beta if trial.method is Method.DPO else space.orpo_lambda
        strength, none = (trial.beta, trial.orpo_lambda)[:: 1 if trial.method is Method.DPO else -1]
        assert none is None
        assert low <= strength <= high
        assert space.learning_rate[0] <= trial.learning_rate <= space.learning_rate[1]
        assert trial.learning_rate == float(f"{trial.learning_rate:.3g}")
    assert {t.method for t in drawn} == {Method.DPO, Method.ORPO}
    assert {(t.lora_rank, t.epochs) for t in drawn} == {(8, 1), (8, 2), (16, 1), (16, 2)}


def test_it_goes_where_the_scores_are_and_stays_away_from_what_failed():
    """Only rates above 1e-4 have a model that scores."""
    made = searched(n_trials=30, sweep={"learning_rates": [1e-6, 1e-3], "betas": [0.1]})
    drawn: list[Trial] = []
    while len(drawn) < 30:
        known = {t.name: t.learning_rate if t.learning_rate > 1e-4 else None for t in drawn}
        drawn += draw_batch(made.search, made.trials, drawn, known).trials
    n_above = [sum(t.learning_rate > 1e-4 for t in part) for part in (drawn[:6], drawn[-12:])]
    assert n_above[0] / 6 < 0.7
    assert n_above[1] / 12 > 0.8


def test_a_combination_is_not_drawn_twice():
    made = searched(n_trials=5, sweep={"learning_rates": [1e-5], "betas": [0.1], "lora_ranks": [1, 2, 4, 8, 16, 32]})
    drawn = draw_batch(made.search, made.trials, [], {}).trials
    assert len({t.lora_rank for t in drawn}) == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"sweep": {"learning_rates": [1e-5], "betas": [0.1]}},
            "would draw 12 trials, and the sweep has 1 combination",
        ),
        (
            {"base_models": ["small", "large", "middle"], "sweep": {"n_trials": 5}},
            "would draw 5 trials for 3 base models, and each needs 2",
        ),
        (
            {"base_models": ["small", "large"], "sweep": {"learning_rates": [1e-5], "betas": [0.1], "epochs": [1, 2]}},
            "has 4 combinations in all, 2 for each base model",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_with_the_way_out(fields, message):
    given = {"base_models": ["small"], "strategy": "tpe", **fields}
    with pytest.raises(PlanRefused, match=message):
        plan(bases(**{name: data() for name in given["base_models"]}), **given)


def test_the_plan_says_what_is_saved_and_that_it_may_be_nothing():
    def saving(n_trials: int, **sweep) -> str:
        return next(line for line in plan_markdown(searched(n_trials, sweep=sweep)).splitlines() if "Saving" in line)

    wide = {"learning_rates": [1e-6, 1e-5, 1e-4], "betas": [0.05, 0.1, 0.3], "lora_ranks": [8, 16]}
    assert "12 trainings instead of the 18 of a grid over the same settings (33% fewer)" in saving(12, **wide)
    assert "a grid over the same settings has 18 trainings: none are saved. " in saving(18, **wide)
    # what is left open has the grid's defaults: 3 learning rates and 2 betas
    assert "has 6 trainings: none are saved, and 6 more are bought to look between its values." in saving(12)
    assert "is not known beforehand" in saving(12)


def two_bases(**fields):
    given = {"base_models": ["large", "small"], "strategy": "tpe", "sweep": {"n_trials": 12}, **fields}
    return plan(bases(large=data(), small=data()), **given)


def test_several_bases_take_turns_and_each_has_the_range_of_its_size():
    made = two_bases()
    assert [t.base_label for t in made.trials[:4]] == ["large", "small", "large", "small"]
    assert [space.learning_rate for space in made.search.spaces] == [(1e-6, 2e-5), (2.5e-6, 4e-5)]
    large, small = (plan(bases(**{name: data()}), base_model=name, strategy="tpe") for name in ("large", "small"))
    assert made.lines[0].usd == pytest.approx((large.lines[0].usd + small.lines[0].usd) / 2)
    first = draw_batch(made.search, made.trials, [], {}).trials
    assert [(t.name, t.base_label) for t in first[:2]] == [("t1", "large"), ("t2", "small")]
    page = plan_markdown(made)
    assert "| setting | large | small |" in page
    assert "| learning rate | 1e-06 to 2e-05, by its logarithm | 2.5e-06 to 4e-05, by its logarithm |" in page
    assert "The base models take turns, each with a search of its own." in page
    assert "a grid over the same settings has 12 trainings: none are saved. " in page


def test_a_bases_trials_are_drawn_from_its_own_results():
    made = two_bases()
    first = draw_batch(made.search, made.trials, [], {}).trials
    known = {t.name: 0.1 * n for n, t in enumerate(first)}

    def second(**changed: float) -> dict[str, list[float]]:
        drawn = draw_batch(made.search, made.trials, first, {**known, **changed}).trials
        return {base: [t.learning_rate for t in drawn if t.base_label == base] for base in ("large", "small")}

    before, after = second(), second(t2=0.9)  # t2 is the small one's
    assert before["large"] == after["large"]
    assert before["small"] != after["small"]


def answer(score: float | None, text: str = "", **more) -> ScoredAnswer:
    return ScoredAnswer(prompt_id="p", prompt="?", text=text or f"says {score} {id(more)}", score=score, **more)


def test_the_worth_is_the_mean_of_what_was_judged_and_nothing_for_what_is_flagged():
    base = [answer(0.1, f"base {n}") for n in range(4)]
    ours = [answer(score, f"ours {n}") for n, score in enumerate([0.5, 1.0, None])]
    assert worth(ours, base) == 0.75
    assert worth([*ours, answer(None, left_out=True)], base) == 0.75
    assert worth([answer(0.9, "the same") for _ in range(4)], base) is None
    assert worth([answer(None, f"ours {n}") for n in range(4)], base) is None


def test_the_report_says_what_each_batch_was_drawn_from():
    made = searched(n_trials=8, max_active_jobs=4)
    first = draw_batch(made.search, made.trials, [], {})
    second = draw_batch(made.search, made.trials, first.trials, {"t1": 0.2, "t2": None, "t3": 0.7, "t4": 0.3})
    assert draws_text(Draws(batches=[first, second])) == (
        "Drawn by TPE: t1, t2, t3, t4 at random; t5, t6, t7, t8 from 4 before, of which t3 was best (0.70). What each "
        "batch was drawn from is in `search.json`."
    )
    assert Search.model_validate_json(made.search.model_dump_json()).seed == made.search.seed
