"""What the report says would be worth trying next."""

from __future__ import annotations

from preference.advice import worth_trying
from preference.settings_sweep import Method
from preference.standings import Comparison, Contestant, Estimate, Headline, Standing
from preference.trials import Trial


def trial(name: str, rate: float, beta: float = 0.1) -> Trial:
    return Trial(
        name=name,
        method=Method.DPO,
        learning_rate=rate,
        beta=beta,
        orpo_lambda=None,
        lora_rank=8,
        epochs=1,
        batch_size=4,
        max_context_length=512,
        base_model="accounts/fireworks/models/tiny",
        job_id=f"pw-1-{name}",
    )


def estimate(value: float, half: float, n: int = 32) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, n=n)


def standing(name: str, difference: float, *flags: str) -> Standing:
    return Standing(
        contestant=Contestant(name=name, label=name, model=name),
        score=estimate(0.5, 0.1),
        difference=estimate(difference, 0.1),
        flags=list(flags),
    )


def comparison(*candidates: Standing, proposed: str | None, rate: Estimate | None = None) -> Comparison:
    none = estimate(0.0, 0.1)
    shown = rate and Headline(
        candidate=proposed or "", confirmed=True, base=none, tuned=none, difference=none, win_rate=rate
    )
    return Comparison(
        base=standing("base", 0.0),
        candidates=list(candidates),
        proposed=proposed,
        clear=False,
        reasons=[],
        n_selection=32,
        headline=shown,
    )


def test_a_best_learning_rate_at_the_edge_of_what_was_tried_points_beyond():
    trials = [trial("t1", 1e-4), trial("t2", 5e-4)]
    low, high = standing("t1", 0.3), standing("t2", 0.6)
    assert worth_trying(comparison(high, low, proposed="t2"), trials) == [
        "t2 has the highest learning rate that was tried, 0.0005: try 0.0015 as well."
    ]
    [advice] = worth_trying(comparison(low, high, proposed="t1"), trials)
    assert "lowest learning rate that was tried, 0.0001: try 3.3e-05" in advice


def test_one_in_the_middle_or_one_that_is_no_better_points_nowhere():
    trials = [trial("t1", 1e-4), trial("t2", 5e-4), trial("t3", 1e-3)]
    middle = [standing("t2", 0.6), standing("t1", 0.3), standing("t3", -0.3, "all answers are empty")]
    assert worth_trying(comparison(*middle, proposed="t2"), trials) == []


def test_a_beta_that_the_api_would_refuse_is_not_advised():
    trials = [trial("t1", 1e-4, 0.1), trial("t2", 1e-4, 0.3)]
    assert worth_trying(comparison(standing("t2", 0.6), standing("t1", 0.3), proposed="t2"), trials) == []


def test_where_nothing_moved_it_says_so():
    [advice] = worth_trying(comparison(standing("t1", 0.02), proposed="t1"), [trial("t1", 1e-5)])
    assert "No candidate differs from its base" in advice


def test_it_counts_the_prompts_that_a_rate_would_need():
    found = comparison(standing("t1", 0.2), proposed="t1", rate=estimate(0.6, 0.15))
    [advice] = worth_trying(found, [trial("t1", 1e-5)])
    assert "about 153 prompts" in advice
    assert "306 held-out prompts" in advice
    sure = comparison(standing("t1", 0.2), proposed="t1", rate=estimate(0.8, 0.15))
    assert worth_trying(sure, [trial("t1", 1e-5)]) == []
