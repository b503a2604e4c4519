"""Models: the names people use, and which can be tuned."""

import pytest

from blocks import errors
from blocks.client_models import is_tunable, match_models, nearest, spelling
from preference.wire import Model

OURS, THEIRS = "/v1/accounts/acme/models", "/v1/accounts/fireworks/models"


def listed(*models, account="fireworks", **flags):
    tunable = {"supervisedLoraTunable": True, "useTrainingV2": True, **flags}
    return [{"name": f"accounts/{account}/models/{m}", **tunable} for m in models]


CATALOGUE = [
    {**listed("qwen3-32b")[0], "displayName": "Qwen3 32B"},
    {**listed("qwen3-8b")[0], "displayName": "Qwen3 8B"},
    {**listed("qwen3p5-9b")[0], "displayName": "Qwen3.5 9B"},
    {**listed("qwen3-4b-instruct-2507")[0], "displayName": "Qwen3 4B Instruct 2507"},
    *listed("qwen3-30b-a3b", "gpt-oss-20b", supervisedLoraTunable=False, tunable=True),
]


def catalogue(scripted, ours=()):
    return scripted({f"GET {THEIRS}": {"models": CATALOGUE}, f"GET {OURS}": {"models": list(ours)}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Qwen3 32B", "qwen3-32b"),
        ("qwen3-32b", "qwen3-32b"),
        ("QWEN3-32B", "qwen3-32b"),
        ("Qwen 3 32B", "qwen3-32b"),
        ("Qwen3.5 9B", "qwen3p5-9b"),
        ("qwen3.5-9b", "qwen3p5-9b"),
        (" Qwen3-30B-A3B ", "qwen3-30b-a3b"),
    ],
)
def test_a_model_is_found_by_what_people_call_it(scripted, text, expected):
    client, _ = catalogue(scripted)
    assert client.resolve_model(text).name == f"accounts/fireworks/models/{expected}"


def test_a_full_name_is_asked_for_itself(scripted):
    name = "accounts/other/models/m"
    client, script = scripted({f"GET /v1/{name}": {"name": name}})
    assert client.resolve_model(name).name == name
    assert len(script.requests) == 1


def test_an_ambiguous_name_lists_all_that_fit(scripted):
    client, _ = catalogue(scripted, listed("qwen3-32b", account="acme"))
    with pytest.raises(
        errors.Ambiguous, match="fits accounts/acme/models/qwen3-32b, accounts/fireworks/models/qwen3-32b"
    ):
        client.resolve_model("qwen3-32b")


def test_what_is_not_there_is_refused_with_the_nearest(scripted):
    client, _ = catalogue(scripted)
    with pytest.raises(errors.NotFound, match=r"no model is called 'qwen3-4b'\. The nearest: .*qwen3-8b"):
        client.resolve_model("qwen3-4b")  # not quietly qwen3-4b-instruct-2507


def test_an_id_that_the_list_lacks_is_looked_up(scripted):
    client, script = catalogue(scripted)
    script.answers[f"GET {THEIRS}/brand-new"] = {"name": "accounts/fireworks/models/brand-new"}
    assert client.resolve_model("brand-new").name.endswith("/brand-new")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"supervisedLoraTunable": True, "useTrainingV2": True}, True),
        ({"supervisedLoraTunable": True, "useTrainingV2": False}, False),  # qwen3-vl-8b-instruct
        ({"supervisedLoraTunable": True}, False),
        ({"supervisedLoraTunable": False, "useTrainingV2": True, "tunable": True}, False),
        ({"tunable": True}, False),
        ({}, False),
    ],
)
def test_only_the_two_flags_together_make_a_model_tunable(flags, expected):
    assert is_tunable(Model.parse({"name": "accounts/fireworks/models/m", **flags})) is expected


def test_a_dated_list_counts_only_where_the_platform_is_silent():
    known = {"m"}
    assert is_tunable(Model(name="accounts/fireworks/models/m"), known)
    assert not is_tunable(Model(name="accounts/fireworks/models/m", supervised_lora_tunable=False), known)
    assert not is_tunable(Model(name="accounts/fireworks/models/other"), known)


def test_a_model_that_cannot_be_tuned_is_refused_with_the_nearest_that_can(scripted):
    client, _ = catalogue(scripted)
    with pytest.raises(
        errors.NotTunable, match=r"qwen3-30b-a3b cannot be tuned.*nearest that can: .*qwen3-32b"
    ) as caught:
        client.require_tunable(client.resolve_model("Qwen3-30B-A3B"))
    assert "gpt-oss" not in str(caught.value).partition("nearest")[2]


def test_spelling_keeps_what_tells_models_apart():
    assert spelling("Qwen3.5 9B") == spelling("qwen3p5-9b") != spelling("Qwen 359B")
    assert spelling("qwen3-8b") != spelling("qwen3-80b")


def test_matching_is_never_by_a_part_of_the_name():
    models = [Model.parse(m) for m in CATALOGUE]
    assert match_models("qwen3", models) == []
    assert [m.name for m in nearest("qwen3-33b", models, 1)] == ["accounts/fireworks/models/qwen3-32b"]
