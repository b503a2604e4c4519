import pytest
from pydantic import ValidationError

from preference.settings import PreferenceRequest
from preference.settings_sweep import Grid
from preference.trials import default_rates, grid_trials
from preference.wire import BaseModelDetails, Model

SESSION = "1779157376-41e1"


def trials(parameters: int | None = 8_190_000_000, **fields):
    given = {"dataset": "d", "evaluator": "e", **fields}
    request = PreferenceRequest.model_validate(given if "base_models" in fields else {**given, "base_model": "b"})
    details = None if parameters is None else BaseModelDetails(parameter_count=parameters)
    names = request.base_models or ["b"]
    return grid_trials(
        SESSION, request, [Model(name=f"accounts/fireworks/models/{n}", base_model_details=details) for n in names]
    )


def test_without_a_grid_the_learning_rate_and_beta_are_swept_by_the_size_of_the_base():
    assert [(t.learning_rate, t.beta, t.lora_rank, t.epochs) for t in trials()] == [
        (5e-6, 0.1, 8, 1),
        (5e-6, 0.3, 8, 1),
        (1e-5, 0.1, 8, 1),
        (1e-5, 0.3, 8, 1),
        (2e-5, 0.1, 8, 1),
        (2e-5, 0.3, 8, 1),
    ]
    assert {t.learning_rate for t in trials(135_000_000)} == {2.5e-4, 5e-4, 1e-3}
    assert {t.learning_rate for t in trials(77_300_000_000)} == {2e-6, 5e-6, 1e-5}


def test_the_middle_rate_for_small_models_is_the_one_that_learns_on_the_example():
    """Measured: 4e-4 to 6e-4 learn, less does nothing, 1e-3 collapses."""
    assert 4e-4 <= default_rates(135e6)[1] <= 6e-4
    [one] = trials(135_000_000, sweep={"betas": [0.1]})
    assert one.learning_rate == 5e-4


def test_an_unknown_size_is_taken_for_the_most_usual_one():
    assert default_rates(None) == default_rates(8e9)


def test_an_explicit_grid_is_honoured_exactly_and_nothing_is_added_to_it():
    assert [(t.learning_rate, t.beta, t.lora_rank, t.epochs) for t in trials(sweep={"betas": [0.1, 0.3]})] == [
        (1e-5, 0.1, 8, 1),
        (1e-5, 0.3, 8, 1),
    ]
    wide = {"learning_rates": [1e-6, 1e-5, 1e-4], "betas": [0.1, 0.2, 0.3], "lora_ranks": [8, 16], "epochs": [1, 2]}
    assert len(trials(sweep=wide)) == 36


def test_dpo_and_orpo_stand_side_by_side_each_with_its_own_strength():
    sweep = {"learning_rates": [1e-5], "betas": [0.1, 0.2], "orpo_lambdas": [0.5]}
    assert [(t.name, t.method, t.beta, t.orpo_lambda) for t in trials(methods=["DPO", "ORPO"], sweep=sweep)] == [
        ("t1", "DPO", 0.1, None),
        ("t2", "DPO", 0.2, None),
        ("t3", "ORPO", None, 0.5),
    ]


def test_a_single_method_may_be_written_as_such_but_not_twice():
    assert {t.method for t in trials(method="ORPO")} == {"ORPO"}
    with pytest.raises(ValidationError, match="give method or methods, not both"):
        trials(method="ORPO", methods=["DPO"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "ORPO", "sweep": {"betas": [0.1]}}, "betas 0.1 belong to DPO, and methods is ORPO"),
        ({"sweep": {"orpo_lambdas": [1.0]}}, "orpo_lambdas 1 belong to ORPO, and methods is DPO"),
        ({"sweep": {"betas": [5.0]}}, "beta 5 is not above 0 and below 0.5 .*length-normalised loss"),
    ],
)
def test_a_strength_that_does_not_fit_the_loss_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        trials(**fields)


def test_several_bases_are_a_product_in_the_order_given_and_each_has_the_rates_of_its_size():
    """ "Sweep A and B with beta 0.1 and 0.3"."""
    found = trials(base_models=["b", "a"], sweep={"betas": [0.1, 0.3], "lora_ranks": [8, 16]})
    assert [(t.name, t.base_label, t.beta, t.lora_rank) for t in found] == [
        (f"t{n}", base, beta, rank)
        for n, (base, beta, rank) in enumerate(
            [(base, beta, rank) for base in "ba" for beta in (0.1, 0.3) for rank in (8, 16)], start=1
        )
    ]
    assert found[0].label == "b: DPO lr 1e-05, beta 0.1, rank 8, 1 ep."
    request = PreferenceRequest(dataset="d", evaluator="e", base_models=["small", "large"])
    sizes = {"small": 135_000_000, "large": 77_300_000_000}
    models = [Model(name=n, base_model_details=BaseModelDetails(parameter_count=s)) for n, s in sizes.items()]
    assert [(t.base_model, t.learning_rate, t.beta) for t in grid_trials(SESSION, request, models)] == [
        *(("small", rate, 0.1) for rate in (2.5e-4, 5e-4, 1e-3)),
        *(("large", rate, 0.1) for rate in (2e-6, 5e-6, 1e-5)),
    ]


def test_a_model_sweep_has_one_trial_a_base_and_goes_to_its_settings_where_there_is_but_one():
    request = PreferenceRequest(dataset="d", evaluator="e")
    models = [Model(name=n, base_model_details=BaseModelDetails(parameter_count=8_000_000_000)) for n in "abc"]
    assert [(t.base_model, t.learning_rate, t.beta) for t in grid_trials(SESSION, request, models)] == [
        (name, 1e-5, 0.1) for name in "abc"
    ]
    assert len(grid_trials(SESSION, request, models[:1])) == 6
    with_grid = request.model_copy(update={"sweep": Grid(betas=[0.1, 0.3])})
    assert len(grid_trials(SESSION, with_grid, models)) == 6


def test_a_base_model_may_be_written_as_such_but_not_twice_and_not_without_a_name():
    assert PreferenceRequest.model_validate({"dataset": "d", "evaluator": "e", "base_model": " b "}).base_models == [
        "b"
    ]
    with pytest.raises(ValidationError, match="give base_model or base_models, not both"):
        trials(base_model="a", base_models=["b"])
    with pytest.raises(ValidationError, match="a base model without a name"):
        trials(base_models=["a", " "])
