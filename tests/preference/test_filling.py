"""A request filled from a text: fields win, nothing is dropped, what cannot be together is asked."""

import pytest
from pydantic import ValidationError

from preference.filling import fill, missing
from preference.instruction import read_instruction
from preference.instruction_replies import reply
from preference.settings import PreferenceRequest


def filled(text: str, answers=None, *, text_wins=False, **fields):
    return fill(PreferenceRequest(**fields), read_instruction(text), answers or {}, text_wins=text_wins)


def test_a_field_wins_and_the_difference_is_noted():
    found = filled("Use rank 16, budget $5.", budget_usd=3, sweep={"epochs": [2]})
    assert (found.request.budget_usd, found.request.sweep.lora_ranks, found.request.sweep.epochs) == (3, [16], [2])
    assert found.notes == ["budget_usd is 3, as its field says; the text says 5 (“budget $5”)."]


def test_a_file_that_the_shell_found_for_a_text_is_no_difference():
    assert filled("Train on ./data/pairs.jsonl.", dataset="/home/ada/data/pairs.jsonl").notes == []
    assert filled("Train on data/pairs.jsonl.", dataset="/home/ada/otherdata/pairs.jsonl").notes != []


def test_a_field_at_its_default_was_not_given_since_forms_send_all():
    assert filled("Up to 10 jobs in parallel.", max_active_jobs=6).request.max_active_jobs == 10


def test_an_answer_wins_over_both():
    assert filled("Budget $5.", {"budget_usd": 7.0}, budget_usd=3).request.budget_usd == 7


def test_a_change_wins_over_the_field_but_not_over_what_was_fetched():
    found = filled("Budget $5, dataset accounts/a/datasets/other.", text_wins=True, budget_usd=3, dataset="mine")
    assert (found.request.budget_usd, found.request.dataset) == (5, "mine")
    assert "the dataset is fixed once it was fetched" in found.notes[0]


def test_what_this_version_does_not_offer_is_said():
    request = PreferenceRequest()
    reading = read_instruction("Use rank 8.")
    reading.understood[0].field = "sweep.flavour"
    assert "this version does not offer it" in fill(request, reading, {}).notes[0]


@pytest.mark.parametrize(
    ("says", "field", "asks"),
    [
        ("Use beta 0.1 with ORPO.", "methods", "betas 0.1 belong to DPO"),
        ("Context length 4097.", "sweep.max_context_length", "not a multiple of 16"),
        ("Judge by: shorter wins. Score of 0.8.", "target_score", "a judge gives no scores"),
        ("Up to 100 jobs in parallel.", "max_active_jobs", "less than or equal to 64"),
    ],
)
def test_what_a_request_does_not_take_is_asked_and_left_out(says, field, asks):
    found = filled(says)
    assert [q.field for q in found.questions] == [field]
    assert asks in found.questions[0].text


def test_missing_are_the_dataset_a_base_or_a_grid_and_who_judges():
    assert [q.field for q in missing(filled(""))] == ["dataset", "base_models", "evaluator", "judge"]
    assert missing(filled("DPO on accounts/a/datasets/b, sweep base models, evaluator accounts/a/evaluators/e.")) == []
    assert [q.field for q in missing(filled("Use rank 16."))] == ["dataset", "evaluator", "judge"], "a grid is a sweep"


def test_a_key_in_the_text_is_refused_and_not_repeated():
    key = "fw_" + "3ZnbYh2aBcDeFgHiJkLmNoPq"
    with pytest.raises(ValidationError, match="looks like a key") as error:
        PreferenceRequest(instruction=f"Use {key}.")
    assert key not in str(error.value)


@pytest.mark.parametrize(
    ("field", "says", "gives"),
    [
        ("sweep.betas", "0.1 and 0.3", {"sweep.betas": [0.1, 0.3]}),
        ("sweep.betas", "beta 0.1", {"sweep.betas": [0.1]}),
        ("sweep.epochs", "two", {"sweep.epochs": [2]}),
        ("budget_usd", "7.50", {"budget_usd": 7.5}),
        ("budget_usd", "$5", {"budget_usd": 5.0}),
        ("budget_usd", "5 euros", {}),
        ("base_models", "yes", {"base_models": []}),
        ("base_models", "Qwen3 8B", {"base_models": ["Qwen3 8B"]}),
        ("base_models", "tiny, other", {"base_models": ["tiny", "other"]}),
        ("target_win_rate", "75%", {"target_win_rate": 0.75}),
        ("held_out_share", "30 %", {"held_out_share": 0.3}),
        ("dataset", '"my prefs.jsonl"', {"dataset": "my prefs.jsonl"}),
        ("methods", "both DPO and ORPO", {"methods": ["DPO", "ORPO"]}),
        ("max_active_jobs", "3", {"max_active_jobs": 3}),
        ("evaluator", "", {}),
        ("auto_approve_up_to_usd", "5", {"auto_approve_up_to_usd": 5.0}),
        ("auto_approve_up_to_usd", "$5", {"auto_approve_up_to_usd": 5.0}),
        ("auto_approve_up_to_usd", "no", {"auto_approve_up_to_usd": None}),
        ("auto_promote", "yes", {"auto_promote": "clear_winner"}),
        ("auto_promote", "No, please.", {"auto_promote": "never"}),
        ("pairs.max_prompts", "50", {"pairs.generate": True, "pairs.max_prompts": 50}),
    ],
)
def test_a_reply_to_one_question(field, says, gives):
    assert reply(field, says) == gives
