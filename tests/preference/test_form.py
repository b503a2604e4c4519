"""The run form, as its JSON schema: Prefect shows the fields in its order and refuses what it can know to be wrong."""

from __future__ import annotations

import jsonschema
import pytest
from pydantic import ValidationError

from preference.settings import PreferenceForm, PreferenceRequest

SCHEMA = PreferenceForm.model_json_schema()


def fields() -> list[str]:
    return sorted(SCHEMA["properties"], key=lambda name: SCHEMA["properties"][name]["position"])


def test_what_everybody_fills_in_comes_first_and_what_has_fields_of_its_own_in_the_advanced_part():
    assert fields()[:8] == [
        "instruction",
        "dataset",
        "base_models",
        "evaluator",
        "rubric",
        "judge",
        "held_out",
        "platform",
    ]
    nested = [name for name in fields() if name in ("sweep", "sampling", "pairs", "serving")]
    assert fields().index(nested[0]) > fields().index("auto_promote")
    assert [SCHEMA["properties"][name]["position"] for name in fields()] == list(range(len(fields())))


def test_each_field_has_words_for_people():
    for name, about in SCHEMA["properties"].items():
        assert about.get("description") or about.get("title") or "$ref" in about, name


@pytest.mark.parametrize(
    "wrong",
    [
        {"held_out_share": 2},
        {"budget_usd": -1},
        {"target_win_rate": 70},
        {"methods": []},
        {"methods": ["SFT"]},
        {"auto_promote": "always"},
        {"max_active_jobs": 0},
        {"session": "latest"},
        {"unknown": 1},
        {"sweep": {"learning_rates": [0]}},
        {"sweep": {"betas": [0.5]}},
        {"sweep": {"orpo_lambdas": [-1]}},
        {"sweep": {"lora_ranks": [7]}},
        {"sweep": {"epochs": [0]}},
        {"sweep": {"max_context_length": 100}},
    ],
)
def test_the_form_refuses_what_a_file_may_not_say(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)
    with pytest.raises(ValidationError):
        PreferenceRequest.model_validate(wrong)
