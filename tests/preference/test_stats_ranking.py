"""Corrections, strengths and how many prompts it takes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from preference.stats import bradley_terry, expected_half_width, holm, required_prompts


def test_holm_literal():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([0.04, math.nan, 0.01]) == pytest.approx([0.04, math.nan, 0.02], nan_ok=True)
    assert holm([]).size == 0


def test_holm_refuses_what_is_no_p_value():
    with pytest.raises(ValueError, match=r"p values lie in \[0, 1\]"):
        holm([0.01, 1.2])


def _games(wins):
    rows = [(a, b, "left") for a, row in wins.items() for b, n in row.items() for _ in range(n)]
    return pd.DataFrame(rows, columns=["left", "right", "outcome"])


def test_baseball_1987():
    """The American League East, wins of row over column; Agresti, Categorical Data Analysis (2002), 10.6."""
    names = ["Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore"]
    table = [
        [0, 7, 9, 7, 7, 9, 11],
        [6, 0, 7, 5, 11, 9, 9],
        [4, 6, 0, 7, 7, 8, 12],
        [6, 8, 6, 0, 6, 7, 10],
        [6, 2, 6, 7, 0, 7, 12],
        [4, 4, 5, 6, 6, 0, 6],
        [2, 4, 1, 3, 1, 7, 0],
    ]
    strengths = bradley_terry(
        _games({a: dict(zip(names, row, strict=True)) for a, row in zip(names, table, strict=True)})
    )
    assert list(strengths.index) == names
    assert strengths.sum() == pytest.approx(1)
    assert np.log(strengths / strengths["Baltimore"]).tolist() == pytest.approx(
        [1.581, 1.436, 1.294, 1.248, 1.108, 0.684, 0], abs=1e-3
    )


def test_two_candidates_by_hand():
    games = pd.DataFrame(
        [("a", "b", "left"), ("b", "a", "right"), ("a", "b", "tie"), ("b", "a", "left"), ("a", "b", None)],
        columns=["left", "right", "outcome"],
    )
    assert bradley_terry(games).to_dict() == pytest.approx({"a": 2.5 / 4, "b": 1.5 / 4})


def test_swapping_left_and_right_changes_nothing():
    rng = np.random.default_rng(1)
    games = pd.DataFrame({"left": rng.choice(list("abc"), 60), "outcome": rng.choice(["left", "right", "tie"], 60)})
    games["right"] = games["left"].map({"a": "b", "b": "c", "c": "a"})
    swapped = games.rename(columns={"left": "right", "right": "left"})
    swapped["outcome"] = swapped["outcome"].map({"left": "right", "right": "left", "tie": "tie"})
    assert bradley_terry(games).to_dict() == pytest.approx(bradley_terry(swapped).to_dict())


def test_an_unbeaten_candidate_is_strongest_but_finite():
    strengths = bradley_terry(_games({"a": {"b": 5, "c": 5}, "b": {"c": 3}, "c": {"b": 2}}))
    assert list(strengths.index) == ["a", "b", "c"]
    assert 0.5 < strengths["a"] < 1.0
    assert strengths["c"] > 0


def test_groups_that_never_met_are_not_compared():
    strengths = bradley_terry(_games({"a": {"b": 3}, "b": {"a": 1}, "c": {"d": 2}, "d": {"c": 2}}))
    assert strengths.isna().all()


def test_no_comparison_gives_nothing():
    assert bradley_terry(_games({})).empty


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("a", "b", "A"), r"found \['A'\]"),
        (("a", "a", "tie"), "'a' is compared with itself"),
        ((None, "b", "left"), "names only one of its two"),
    ],
)
def test_rows_that_say_nothing_are_refused(row, message):
    with pytest.raises(ValueError, match=message):
        bradley_terry(pd.DataFrame([row], columns=["left", "right", "outcome"]))


def test_a_table_without_its_columns_is_refused():
    with pytest.raises(ValueError, match=r"\['outcome'\] are not there"):
        bradley_terry(pd.DataFrame({"left": ["a"], "right": ["b"]}))


@pytest.mark.parametrize(("rate", "n"), [(0.55, 617), (0.6, 153), (0.65, 67), (0.7, 37), (0.3, 37), (1.0, 5)])
def test_required_prompts_literal(rate, n):
    assert required_prompts(rate) == n


@pytest.mark.parametrize("wrong", [{"power": 1}, {"power": 0}, {"alpha": 0}, {"alpha": 5}])
def test_power_and_level_are_shares(wrong):
    with pytest.raises(ValueError, match="must lie between 0 and 1, such as"):
        required_prompts(0.6, **wrong)


def test_no_number_of_prompts_shows_a_tie():
    with pytest.raises(ValueError, match=r"no number shows a tie; found 0\.5"):
        required_prompts(0.5)


@pytest.mark.parametrize(("n", "half"), [(50, 0.114), (100, 0.080), (200, 0.057), (400, 0.040), (805, 0.028)])
def test_expected_half_width_literal(n, half):
    assert expected_half_width(n) == pytest.approx(half, abs=5e-4)


def test_one_prompt_is_half_the_range_and_none_is_unknown():
    assert expected_half_width(1) == 0.5
    assert math.isnan(expected_half_width(0))
    with pytest.raises(ValueError, match="cannot be negative; found -1"):
        expected_half_width(-1)
