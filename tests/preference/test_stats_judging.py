"""The rule for a clear winner."""

from __future__ import annotations

import math

import numpy as np
import pytest

from preference.judging import cannot_catch_up, choose, flags, target_reached


def _judged(wins, ties, losses):
    return np.repeat([1.0, 0.5, 0.0], [wins, ties, losses])


def test_one_candidate_that_clearly_beats_its_opponent():
    choice = choose({"t1": _judged(70, 10, 20)})
    assert (choice.ranking, choice.proposed, choice.clear) == (("t1",), "t1", True)
    assert choice.reasons == ("t1 is clearly better than its opponent: win rate 75.0% [65.9%, 82.6%] on 100 prompts.",)


def test_a_tie_with_the_runner_up_is_not_clear():
    rng = np.random.default_rng(0)
    same = _judged(70, 10, 20)
    choice = choose({"t1": rng.permutation(same), "t2": rng.permutation(same)})
    assert choice.proposed == "t1"
    assert not choice.clear
    assert choice.reasons[0].startswith("t1 is not clearly better than t2: +0.000 [")


def test_the_correction_can_take_a_win_away():
    lone = _judged(65, 0, 35)  # p = 0.0035 alone, 0.053 among fifteen
    assert choose({"t1": lone}).clear
    rivals = {f"r{i:02}": _judged(0, 100, 0) for i in range(14)}
    assert not choose({"t1": lone, **rivals}).clear


def test_scores_of_an_evaluator_are_paired_with_the_opponents():
    rng = np.random.default_rng(4)
    hard = rng.random(80)
    choice = choose({"t1": np.clip(hard + 0.1, 0, 1), "t2": hard}, opponent=hard)
    assert choice.clear
    assert choice.ranking == ("t1", "t2")
    assert choice.standings[0].win_rate.rate == 1.0
    assert choice.standings[1].win_rate.rate == 0.5


def test_a_higher_mean_on_fewer_prompts_is_not_clear():
    opponent = np.full(100, 0.5)
    scores = np.where(np.arange(100) < 45, 1.0, 0.45)
    choice = choose({"t1": scores}, opponent)
    assert not choice.clear
    assert choice.reasons == ("t1 has the higher mean score, but wins on 45.0% of the prompts only.",)


def test_a_flagged_candidate_is_ranked_but_not_proposed():
    choice = choose(
        {"t1": _judged(90, 0, 10), "t2": _judged(70, 0, 30)},
        flags={"t1": ["one answer to all 100 prompts"]},
    )
    assert choice.ranking == ("t1", "t2")
    assert (choice.proposed, choice.clear, choice.runner_up) == ("t2", True, None)


def test_all_flagged_proposes_nobody_and_says_why():
    choice = choose({"t1": _judged(9, 0, 1)}, flags={"t1": ["5 of 10 answers are empty"]})
    assert (choice.proposed, choice.clear) == (None, False)
    assert choice.reasons == ("t1: 5 of 10 answers are empty",)


def test_the_champion_must_be_beaten_and_is_not_proposed():
    better, worse = np.tile([1.0, 1, 1, 1, 0.5], 20), np.tile([1.0, 1, 1, 0.5, 0], 20)
    beaten = choose({"live": worse, "t1": better}, champion="live")
    assert (beaten.proposed, beaten.clear) == ("t1", True)
    unbeaten = choose({"live": better, "t1": worse}, champion="live")
    assert (unbeaten.ranking[0], unbeaten.proposed, unbeaten.clear) == ("live", "t1", False)
    with pytest.raises(ValueError, match="champion 'old' is not among the candidates"):
        choose({"t1": better}, champion="old")


def test_too_much_unread_is_not_clear():
    choice = choose({"t1": np.append(_judged(70, 0, 0), [math.nan] * 30)})
    assert choice.reasons == ("30 of 100 prompts of t1 are unread.",)


def test_nothing_read_proposes_nobody():
    choice = choose({"t1": [math.nan, math.nan]})
    assert (choice.proposed, choice.reasons) == (None, ("t1: no prompt could be scored.",))


def test_equal_candidates_at_even_odds_are_rarely_clear():
    rng = np.random.default_rng(5)
    alarms = sum(choose({name: rng.choice([0, 0.5, 1], 40) for name in "abc"}).clear for _ in range(40))
    assert alarms <= 2


def test_candidates_on_different_prompts_are_refused():
    with pytest.raises(ValueError, match=r"all candidates need the same prompts; found \{'t1': 2, 't2': 1\}"):
        choose({"t1": [1, 0], "t2": [1]})


def _texts(n, words=40):
    return [f"answer {i} " + "word " * words for i in range(n)]


def test_ordinary_answers_have_no_flag():
    rng = np.random.default_rng(6)
    longer = [text + "x" * int(rng.integers(0, 200)) for text in _texts(60)]
    other = [text + "y" * int(rng.integers(0, 200)) for text in _texts(60)]
    assert flags(longer, opponent_completions=other, scores=_judged(45, 5, 10)) == []


def test_one_answer_to_everything_is_flagged():
    assert flags(["I cannot help.", "i cannot  help."] * 20) == ["one and the same answer to all 40 prompts"]


def test_a_handful_of_answers_is_flagged_unless_the_opponent_repeats_too():
    labels = ["yes", "no", "maybe"] * 20
    assert flags(labels, opponent_completions=_texts(60)) == ["only 3 distinct answers to 60 prompts"]
    assert flags(labels, opponent_completions=["no", "yes", "no", "maybe"] * 15) == []


def test_empty_answers_are_flagged():
    assert flags([*_texts(17), "", " \n", ""]) == ["3 of 20 answers are empty"]


def test_an_unchanged_model_is_flagged():
    (flag,) = flags(_texts(30), opponent_completions=_texts(30), scores=[0.5] * 30)
    assert flag == "all 30 answers are word for word the opponent's: was the tuned model asked?"


def test_a_win_by_length_alone_is_flagged():
    rng = np.random.default_rng(7)
    opponent = _texts(150)
    lengths = [len(text) + int(gap) for text, gap in zip(opponent, rng.normal(40, 80, 150), strict=True)]
    ours = [f"{i:04}".ljust(length, "z") for i, length in enumerate(lengths)]
    longer = np.array([len(a) > len(b) for a, b in zip(ours, opponent, strict=True)])
    takes_the_longer = np.where(rng.random(150) < 0.9, longer, ~longer).astype(float)
    (flag,) = flags(ours, opponent_completions=opponent, scores=takes_the_longer)
    assert flag.startswith("the win may be length alone: ")
    assert flags(ours, opponent_completions=opponent, scores=rng.random(150) < 0.75) == []


def test_the_target_is_reached_later_among_many_trials():
    scores = np.tile([1.0, 1.0, 1.0, 1.0, 0.0], 40)
    assert not target_reached(scores[:20], 0.6)
    assert target_reached(scores, 0.6)
    assert target_reached(scores[:60], 0.6)
    assert not target_reached(scores[:60], 0.6, n_candidates=14)


def test_a_hopeless_candidate_is_known_by_its_paired_scores():
    leader = np.tile([1.0, 1.0, 0.0, 1.0], 15)
    hopeless = np.tile([0.0, 1.0, 0.0, 0.0], 15)
    assert cannot_catch_up(hopeless, leader, n_candidates=6)
    assert not cannot_catch_up(leader, hopeless, n_candidates=6)
    assert not cannot_catch_up(leader, leader)
    assert not cannot_catch_up(hopeless[:5], leader[:5])
