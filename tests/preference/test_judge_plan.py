"""What a judge costs, as the plan says it, and what it warns of; and a comparison by a judge's verdicts."""

import pytest
from pydantic import ValidationError

from preference.comparison import JudgedBy, compare_halves
from preference.comparison_page import comparison_markdown
from preference.cost import load_price_book
from preference.judge_plan import (
    JUDGING,
    QUALIFICATION,
    JudgePlan,
    JudgeSummary,
    LabelSummary,
    family,
    judge_lines,
    judge_warnings,
)
from preference.settings import PreferenceRequest
from preference.standings import Contestant, ScoredAnswer

LABELS = LabelSummary(source="the data's own", n=100, n_shorter_better=50, longer_share=0.6, mean_characters=4000)


def judge_plan(rubric="- is right", labels=LABELS, **judge):
    given = {"name": "j", "model": "gpt-5-mini", "address": "https://api.openai.com/v1", **judge}
    return JudgePlan(judge=JudgeSummary(**given), rubric=rubric, labels=labels)


def lines(plan):
    request = PreferenceRequest(dataset="d", base_models=["qwen3-8b"], judge="j", sampling={"max_tokens": 400})
    found = judge_lines(plan, request, load_price_book("fireworks"), (60, 20), 100.0)
    return {line.what: line for line in found}


def test_the_two_lines_of_a_judge_by_the_token():
    found = lines(judge_plan(usd_per_million=(1.0, 10.0)))
    # 2 orders × 100 labels × (450 + 10/4 + 4000/4 prompt tokens at 1 USD, 150 of a reply at 10 USD a million)
    assert found[QUALIFICATION].usd == pytest.approx(200 * (1452.5 + 1500) / 1e6)
    # 2 orders × 80 answers × (450 + 10/4 + 100 + 2 × 400, and 150)
    assert found[JUDGING].usd == pytest.approx(160 * (1352.5 + 1500) / 1e6)
    # at most with replies as long as allowed
    assert found[JUDGING].usd_high == pytest.approx(160 * (1352.5 + 10240) / 1e6)
    assert found[JUDGING].usd_low < found[JUDGING].usd < found[JUDGING].usd_high
    assert "160 verdicts: 60 answers to choose and 20 to confirm" in found[JUDGING].quantity


def test_a_rubric_that_is_written_is_tried_three_times_at_most():
    given, written = (lines(judge_plan(rubric, usd_per_million=(1.0, 10.0))) for rubric in ("- is right", ""))
    assert written[QUALIFICATION].usd > 3 * given[QUALIFICATION].usd
    assert "at most 3 rubrics written" in written[QUALIFICATION].quantity


def test_an_unknown_price_stays_unknown():
    found = lines(judge_plan())
    assert [found[what].usd for what in (QUALIFICATION, JUDGING)] == [None, None]
    assert found[JUDGING].usd_high is None


def test_a_judge_on_the_platform_is_paid_by_the_hour():
    found = lines(judge_plan(address="", model="accounts/fireworks/models/llama-v3p3-70b-instruct"))
    assert found[JUDGING].usd == pytest.approx(8.0 * (found[JUDGING].seconds + 300) / 3600)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("accounts/fireworks/models/qwen3-8b", "qwen"),
        ("Qwen/QwQ-32B", "qwen"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama"),
        ("mistralai/Mixtral-8x7B-v0.1", "mistral"),
        ("gpt-5-mini", "gpt"),
        ("openai/gpt-oss-120b", "gpt"),
        ("smollm2-135m-instruct", "smollm"),
        ("google/gemma-3-27b-it", "gemma"),
    ],
)
def test_families_are_known_by_their_names(model, name):
    assert family(model) == name


def test_a_judge_of_the_same_family_and_too_few_labels_are_warned_of():
    assert judge_warnings(judge_plan(), ["accounts/fireworks/models/qwen3-8b"]) == []
    [own] = judge_warnings(judge_plan(model="qwen3-235b"), ["accounts/fireworks/models/qwen3-8b"])
    assert "of the same family as the tuned model (qwen)" in own
    few = LABELS.model_copy(update={"n": 20, "n_shorter_better": 2})
    assert "2 of them with a shorter better answer" in judge_warnings(judge_plan(labels=few), ["llama"])[0]
    unmade = LabelSummary.of_pairs_to_be_made(5000)
    assert "only after the pairs are paid for" in judge_warnings(judge_plan(labels=unmade), ["llama"])[0]


@pytest.mark.parametrize("beside", [{"rubric": "short"}, {"judge": "j"}, {"labelled": "l"}])
def test_a_judge_beside_an_evaluator_is_refused(beside):
    with pytest.raises(ValidationError, match="belong to a judge, and evaluator 'e' scores by code"):
        PreferenceRequest(dataset="d", base_models=["m"], evaluator="e", **beside)


def test_a_target_score_is_not_a_judges():
    with pytest.raises(ValidationError, match="a judge gives no scores: give target_win_rate"):
        PreferenceRequest(dataset="d", base_models=["m"], judge="j", target_score=0.8)


BASES = [Contestant(name=b, label=b, model=b, base=b) for b in ("b1", "b2")]
TUNED = [
    Contestant(name="t1", label="t1", model="t1", base="b1"),
    Contestant(name="t2", label="t2", model="t2", base="b2"),
]
SCORES = {"b1": [0.5] * 20, "b2": [0.0] * 20, "t1": [1.0] * 19 + [None], "t2": [0.5] * 10 + [0.0] * 10}


def answers(contestants, part):
    return {
        c.name: [
            ScoredAnswer(
                prompt_id=str(n),
                prompt="?",
                text=f"{c.name} says {'much ' * (n % 5)}{n}",
                score=score,
                verdicts=["A", "A"] if score == 0.5 and not c.is_base else [],
                own_base_score=1.0 if c.name == "t2" else None,
            )
            for n, score in enumerate(SCORES[c.name])
        ]
        for c in contestants
    }


def test_a_comparison_by_verdicts_shows_win_rates_and_what_flipped():
    found = compare_halves(
        [*BASES, *TUNED], answers, has_confirmation=True, opponent="b1", judge=JudgedBy("gpt-5-mini")
    )
    t1, t2 = found.candidates
    assert (found.proposed, found.clear, t1.n_won_tied_lost, t1.n_failed) == ("t1", True, (19, 0, 0), 1)
    assert (t2.n_won_tied_lost, t2.n_flipped, t2.own_base.value) == ((0, 10, 10), 10, 1.0)
    assert t1.own_base is None
    page = comparison_markdown(found)
    assert "Judged by gpt-5-mini, in both orders" in page
    assert "19–0–0, 1 without a verdict" in page
    assert "0–10–10, 10 of the ties flipped" in page
    assert "| score |" not in page
    assert "t1 has a win rate of 100 % [" in page


def test_a_judge_below_the_line_names_no_clear_winner():
    doubt = JudgedBy("j", "The judge j is below the line: it picks the first.")
    found = compare_halves([*BASES, *TUNED], answers, has_confirmation=True, opponent="b1", judge=doubt)
    assert (found.proposed, found.clear, found.reasons[0]) == ("t1", False, doubt.doubt)
