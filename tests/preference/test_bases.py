"""Several base models in one plan and one comparison."""

import pytest

from preference.bases import DataSize, PlannedBase, common_opponent, named_bases
from preference.comparison import compare_halves
from preference.comparison_page import comparison_markdown, headline_text
from preference.cost import load_price_book
from preference.evaluator_plan import EvaluatorSummary
from preference.ledger import Spent
from preference.plan import Plan, cheapest_first, draft_plan, trial_line
from preference.plan_page import plan_markdown
from preference.settings import PreferenceRequest
from preference.standings import Contestant, ScoredAnswer
from preference.wire import BaseModelDetails, Model

SESSION = "1779157376-41e1"
SIZES = {"small": 4_000_000_000, "large": 32_800_000_000, "middle": 14_800_000_000}


def data(tokens: int = 10_000, **fields) -> DataSize:
    known = {
        "n_train": 100,
        "n_held_out": 40,
        "n_selection": 20,
        "n_confirmation": 20,
        "train_prompt_tokens": tokens,
        "train_chosen_tokens": tokens,
        "train_rejected_tokens": tokens,
        "held_out_prompt_tokens": 4_000,
        "exact": True,
        "n_over_context": 0,
    }
    return DataSize(**{**known, **fields})


def bases(**sizes: DataSize) -> list[PlannedBase]:
    models = [
        Model(
            name=f"accounts/fireworks/models/{name}",
            display_name=name.title(),
            base_model_details=BaseModelDetails(parameter_count=SIZES[name]),
            training_context_length=16384 if name == "small" else 131072,
        )
        for name in sizes
    ]
    return named_bases(models, list(sizes.values()))


def plan(planned: list[PlannedBase], **fields) -> Plan:
    request = PreferenceRequest.model_validate({"dataset": "d", "evaluator": "e", **fields})
    evaluator = EvaluatorSummary(
        name="e", entry_point="a.py::f", sha256="ab" * 32, n_bytes=1, n_files=1, requirements=[]
    )
    return draft_plan(SESSION, request, planned, evaluator, load_price_book("fireworks"), Spent())


THREE = {"small": data(10_000), "large": data(20_000, exact=False, n_over_context=2), "middle": data(10_000)}
NAMED = {"base_models": ["small", "large", "middle"], "sweep": {"betas": [0.1, 0.3]}}


def test_the_cheapest_are_submitted_first_and_keep_their_names():
    """By price: a small base before a large one, few epochs before many; of equals in the grid's order."""
    grid = {"learning_rates": [1e-5, 2e-5], "betas": [0.1], "epochs": [3, 1]}
    made = plan(bases(large=data(), small=data()), base_models=["large", "small"], sweep=grid)
    assert [(t.name, t.base_label, t.epochs) for t in cheapest_first(made, made.trials)] == [
        ("t6", "small", 1),
        ("t8", "small", 1),
        ("t5", "small", 3),
        ("t7", "small", 3),
        ("t2", "large", 1),
        ("t4", "large", 1),
        ("t1", "large", 3),
        ("t3", "large", 3),
    ]


def test_each_trial_is_priced_with_the_tokens_and_the_price_of_its_base():
    made = plan(bases(**THREE), **NAMED)
    assert [trial_line(made, trial).usd for trial in made.trials] == pytest.approx([0.04, 0.04, 0.48, 0.48, 0.04, 0.04])
    assert made.lines[0].usd == pytest.approx(1.12)
    assert made.lines[0].quantity == "6 jobs, 320,000 tokens"


def test_the_page_names_the_bases_their_share_and_the_common_opponent():
    page = plan_markdown(plan(bases(**THREE), **NAMED))
    assert "# Plan: tune 3 base models by DPO" in page
    assert "- 3 base models: b1 `accounts/fireworks/models/small`, b2" in page
    assert "All play one opponent, b2 (Large, the largest), untouched" in page
    assert "| b2 | large | 2 | about 160,000 | 0.67 | 0.96 | 1.25 |" in page
    assert "| t3 | large | DPO | 5e-06 | beta 0.1 | 8 | 1 |" in page
    assert "the tokenizers of large are not at hand" in page
    assert "2 training rows are longer than 2048 tokens for large" in page


def test_the_opponent_is_the_largest_base_and_of_equals_the_first():
    assert common_opponent(bases(**THREE)) == "b2"
    assert common_opponent(bases(small=data())) == "base"


def test_a_model_sweep_takes_as_many_bases_as_the_budget_pays_for_and_names_the_others():
    whole = plan(bases(**THREE))
    assert [t.base_label for t in whole.trials] == ["small", "large", "middle"]
    assert "since the request names none: a sweep over the catalogue's" in plan_markdown(whole)
    two = plan(bases(small=data(), middle=data()))
    budget = sum(line.usd_high for line in two.lines)
    made = plan(bases(**THREE), budget_usd=budget)
    assert [(b.name, b.label) for b in made.bases] == [("b1", "Small"), ("b2", "Middle")]
    assert made.warnings[0] == (
        "The budget has no room for these base models of the catalogue: accounts/fireworks/models/large."
    )
    named = plan(bases(**THREE), **NAMED, budget_usd=budget)
    assert len(named.trials) == 6  # what was asked for is never thinned out


CONTESTANTS = [
    Contestant(name="b1", label="Small, untouched", model="small", base="b1"),
    Contestant(name="b2", label="Large, untouched", model="large", base="b2"),
    Contestant(name="t1", label="small: DPO", model="m1", base="b1"),
    Contestant(name="t2", label="large: DPO", model="m2", base="b2"),
]


def answers(scores: dict[str, float], n: int = 40):
    """Every contestant has one score on all prompts, and answers that differ."""
    asked: list[tuple[str, list[str]]] = []

    def given(contestants, part):
        asked.append((part, [c.name for c in contestants]))
        return {
            c.name: [
                ScoredAnswer(prompt_id=str(i), prompt="?", text=f"{c.name} says {i}", score=scores[c.name])
                for i in range(n)
            ]
            for c in contestants
        }

    return given, asked


def test_a_weak_base_does_not_make_its_candidate_the_winner():
    """t1 gains most on its own base, and t2 is the better model."""
    given, asked = answers({"b1": 0.1, "b2": 0.6, "t1": 0.5, "t2": 0.9})
    found = compare_halves(CONTESTANTS, given, has_confirmation=True, opponent="b2")
    assert (found.proposed, found.clear) == ("t2", True)
    assert [s.contestant.name for s in found.candidates] == ["t2", "t1"]
    assert [s.contestant.name for s in found.bases] == ["b1"]
    weak = found.candidates[1]
    assert (weak.win_rate.value, weak.own_base.value) == (0, 1)
    assert asked[1] == ("confirmation", ["b2", "t2"])
    page = comparison_markdown(found)
    assert "| score | against b2 | win rate, % | against its own base, % |" in page
    assert len({line.count("|") for line in page.splitlines() if line.startswith("|")}) == 1


def test_the_headline_of_another_base_s_candidate_has_the_opponent_and_its_own_base():
    given, asked = answers({"b1": 0.1, "b2": 0.6, "t1": 0.9, "t2": 0.7})
    found = compare_halves(CONTESTANTS, given, has_confirmation=True, opponent="b2")
    assert asked[1] == ("confirmation", ["b1", "b2", "t1"])
    text = headline_text(found.headline)
    assert "t1 scores 0.90" in text
    assert "b2 (Large, untouched) 0.60" in text
    assert "(against its own base 100 % [" in text


def test_an_untouched_base_that_is_better_than_all_candidates_leaves_no_clear_winner():
    given, _ = answers({"b1": 0.9, "b2": 0.3, "t1": 0.8, "t2": 0.5})
    found = compare_halves(CONTESTANTS, given, has_confirmation=True, opponent="b2")
    assert (found.proposed, found.clear) == ("t1", False)
    assert "t1 is not clearly better than b1" in found.reasons[0]


def test_the_opponent_is_one_of_the_bases():
    given, _ = answers({"b1": 0.1, "b2": 0.1, "t1": 0.1, "t2": 0.1})
    with pytest.raises(ValueError, match="the opponent 't1' is none of the bases"):
        compare_halves(CONTESTANTS, given, has_confirmation=False, opponent="t1")
