"""The report's pictures: that they are drawn of what is known, and what they say of it."""

from __future__ import annotations

import io

import pytest
from matplotlib.image import imread

from preference.figures import lengths_figure, outcome_of, training_curves_figure, win_rates_figure
from preference.standings import Comparison, Contestant, Estimate, Headline, ScoredAnswer, Standing


def estimate(value: float | None) -> Estimate:
    known = value is not None
    return Estimate(value=value, low=max(0, value - 0.1) if known else None, high=1.0 if known else None, n=32)


def standing(name: str, rate: float | None) -> Standing:
    contestant = Contestant(
        name=name, label="DPO lr 0.0001, beta 0.1, rank 8, 1 ep.", model=f"accounts/a/models/{name}"
    )
    return Standing(contestant=contestant, score=estimate(rate), win_rate=estimate(rate))


def comparison(*rates: float | None) -> Comparison:
    candidates = [standing(f"t{n}", rate) for n, rate in enumerate(rates, 1)]
    return Comparison(
        base=standing("base", 0.2),
        candidates=candidates,
        proposed="t1",
        clear=True,
        reasons=[],
        n_selection=32,
        headline=Headline(
            candidate="t1",
            confirmed=True,
            base=estimate(0.2),
            tuned=estimate(0.8),
            difference=estimate(0.6),
            win_rate=estimate(0.9),
        ),
    )


def height(png: bytes) -> int:
    return imread(io.BytesIO(png)).shape[0]


def test_there_is_a_row_for_each_candidate_with_a_known_win_rate():
    assert height(win_rates_figure(comparison(0.9, 0.4))) > height(win_rates_figure(comparison(0.9)))
    assert height(win_rates_figure(comparison(0.9, None))) == height(win_rates_figure(comparison(0.9)))


def test_the_same_facts_are_the_same_bytes():
    assert win_rates_figure(comparison(0.9, 0.4)) == win_rates_figure(comparison(0.9, 0.4))
    assert win_rates_figure(comparison(0.9, 0.4)) != win_rates_figure(comparison(0.9, 0.5))


def test_curves_take_the_keys_that_a_platform_has_and_miss_none_that_it_lacks():
    dpo = [{"step": n, "dpo_loss": 0.69 - n / 100, "accuracy": 0.5} for n in range(9)]
    orpo = [{"train/step": n, "train/loss": 2.0} for n in range(9)]
    both = training_curves_figure({"t1": dpo, "t2": orpo})
    assert both != training_curves_figure({"t1": dpo, "t2": [{"step": n} for n in range(9)]})
    assert training_curves_figure({f"t{n}": dpo for n in range(40)})  # no legend, and no error


@pytest.mark.parametrize(
    ("base", "tuned", "outcome"),
    [(0.1, 0.9, "won"), (0.9, 0.1, "lost"), (0.5, 0.5, "tied"), (None, 0.5, "not scored"), (0.5, None, "not scored")],
)
def test_an_answer_without_a_score_is_neither_a_tie_nor_a_loss(base, tuned, outcome):
    sides = [ScoredAnswer(prompt_id="p", prompt="?", text="a b c", score=score) for score in (base, tuned)]
    assert outcome_of(*sides) == outcome
    assert lengths_figure([sides[0]], [sides[1]], "t1").startswith(b"\x89PNG")
