import math

import pytest

from preference.health import not_a_number, training_health
from preference.settings_sweep import Method


def steps(n: int = 40, **columns) -> list[dict]:
    """n steps of a healthy DPO run, with columns put in their place: a function of the share done."""
    healthy = {
        "dpo_loss": lambda x: math.log(2) - 0.3 * x,
        "accuracy": lambda x: 0.5 + 0.3 * x,
        "margin": lambda x: 2 * x,
        "chosen_logps": lambda x: -50 + x,
        "rejected_logps": lambda x: -60 - x,
        "grad_norm": lambda x: 1.0,
    }
    return [{"step": i + 1, **{k: f(i / n) for k, f in {**healthy, **columns}.items()}} for i in range(n)]


def test_a_healthy_run_has_nothing_to_say():
    assert training_health(Method.DPO, steps()) == []


def test_what_the_platform_does_not_tell_is_not_judged():
    assert training_health(Method.DPO, []) == []
    assert training_health(Method.DPO, [{"step": 1, "pid": 7}] * 30) == []


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"dpo_loss": lambda x: 0.9 - 0.3 * x}, "the first loss is 0.900, not 0.693"),
        ({"accuracy": lambda x: 0.5}, "pair accuracy stays about 0.5"),
        ({"accuracy": lambda x: 1.0}, "every pair is told apart after a few steps"),
        ({"margin": lambda x: -2 * x}, "the margin fell from"),
        ({"chosen_logps": lambda x: -50 - 20 * x, "rejected_logps": lambda x: -60 - 40 * x}, "likelihood displacement"),
        ({"grad_norm": lambda x: 1000.0 if x > 0.5 else 1.0}, "the gradient norm reached 1e+03"),
        ({"dpo_loss": lambda x: math.log(2) if x < 0.5 else math.nan}, "dpo_loss is nan at step 21"),
    ],
)
def test_each_sign_is_said_in_plain_words_and_alone(columns, said):
    [found] = training_health(Method.DPO, steps(**columns))
    assert said in found


def test_orpo_does_not_begin_at_ln_2():
    lines = [{"step": line["step"], "orpo_loss": 3.5 - 0.01 * line["step"]} for line in steps()]
    assert training_health(Method.ORPO, lines) == []


def test_only_a_loss_that_is_no_number_ends_a_trial():
    """An infinite gradient is what loss scaling in half precision skips over."""
    assert not_a_number([{"step": 3, "grad_norm": math.inf, "loss": 0.5}]) is None
    assert not_a_number([{"step": 3, "loss": math.inf}]) == "loss is inf at step 3: lower the learning rate."
