"""Fields of the run form that contradict each other: what is asked, and what each answer comes to."""

from __future__ import annotations

import pytest

from preference.contradictions import without_contradictions
from preference.settings import PreferenceForm

JUDGED = {"evaluator": "mine", "rubric": "Short is better.", "judge": "gpt"}


def asked(**fields):
    """The one question about such a form, and the request until it is answered."""
    request, [found] = without_contradictions(PreferenceForm(dataset="d", **fields))
    return request, found


def test_a_form_whose_fields_fit_together_is_the_request():
    form = PreferenceForm(dataset="d", evaluator="mine", target_score=0.7, stop_at_target=True)
    request, found = without_contradictions(form)
    assert (found, request.model_dump()) == ([], form.model_dump())


def test_an_evaluator_beside_a_rubric_is_asked_about_and_neither_counts_until_then():
    request, found = asked(**JUDGED)
    assert (request.evaluator, request.rubric, request.judge) == ("", "", "")
    assert found.question.field == "evaluator"
    assert "belongs to a judge was given, too (rubric, judge)" in found.question.text
    assert found.settled({"evaluator": "mine"}) == {}
    assert found.settled({}) == {"rubric": "Short is better.", "judge": "gpt"}


def test_the_target_score_stays_with_the_evaluator_and_goes_with_the_judge():
    request, found = asked(**JUDGED, target_score=0.7, stop_at_target=True)
    assert (request.target_score, request.stop_at_target) == (None, False)
    assert found.settled({"evaluator": "mine"}) == {"target_score": 0.7, "stop_at_target": True}
    assert found.settled({}) == {"rubric": "Short is better.", "judge": "gpt"}


def test_a_judge_s_filter_beside_an_evaluator_is_asked_about():
    request, found = asked(evaluator="mine", pairs={"judge_filter": True, "max_tokens": 9})
    assert (request.evaluator, request.pairs.judge_filter, request.pairs.max_tokens) == ("", False, 9)
    assert found.settled({"evaluator": "mine"}) == {}
    assert found.settled({}) == {"pairs.judge_filter": True}


def test_a_judge_is_asked_for_a_win_rate_in_place_of_a_score():
    request, found = asked(judge="gpt", target_score=0.7, stop_at_target=True)
    assert (request.judge, request.target_score, found.question.field) == ("gpt", None, "target_win_rate")
    assert found.settled({"target_win_rate": 0.7}) == {"stop_at_target": True}
    assert found.settled({}) == {}


@pytest.mark.parametrize(
    ("method", "sweep", "said"),
    [
        ("ORPO", {"betas": [0.1]}, "Betas 0.1 belong to DPO, and the method is ORPO"),
        ("DPO", {"orpo_lambdas": [1, 2]}, "Lambdas 1, 2 belong to ORPO, and the method is DPO"),
    ],
)
def test_a_strength_without_its_method_is_asked_about(method, sweep, said):
    request, found = asked(methods=[method], sweep={**sweep, "epochs": [2]})
    [(name, values)] = sweep.items()
    assert said in found.question.text
    assert (getattr(request.sweep, name), request.sweep.epochs) == ([], [2])
    assert found.settled({"methods": ["DPO", "ORPO"]}) == {f"sweep.{name}": values}
    assert found.settled({}) == {}


def test_stopping_at_a_target_without_one_asks_for_it():
    request, found = asked(stop_at_target=True)
    assert (request.stop_at_target, found.question.field) == (False, "target_win_rate")
    assert found.settled({"target_win_rate": 0.7}) == {"stop_at_target": True}
    assert found.settled({}) == {}
