from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference.cost import PriceBook, load_price_book
from preference.formats_rows import convert
from preference.pair_models import NoModelPair, family, pick_models
from preference.pairs import Length, Side, first_pass, is_refusal, pair_row, similarity, why_dropped
from preference.pairs_page import first_pass_markdown
from preference.settings_models import PairGeneration, Serving
from preference.wire import BaseModelDetails, Model

SETTINGS = PairGeneration()
GOOD = Side(text="Oak is a hard wood from the oak tree.", finish_reason="stop", n_tokens=12)
OTHER = Side(text="A tree. Trees are trees, and trees grow.", finish_reason="stop", n_tokens=14)


def but(side: Side, **changed) -> Side:
    return side.model_copy(update=changed)


def test_two_sound_answers_make_a_pair():
    assert why_dropped(GOOD, OTHER, SETTINGS) is None


@pytest.mark.parametrize(
    ("strong", "weak", "reason"),
    [
        (but(GOOD, text=" \n"), OTHER, "empty answer (strong)"),
        (GOOD, but(OTHER, finish_reason="length"), "cut off (weak)"),
        (but(GOOD, text="I'm sorry, but I can't help with that."), OTHER, "refusal (strong)"),
        (GOOD, but(OTHER, text="As an AI language model, I cannot do so."), "refusal (weak)"),
        (but(GOOD, text="", thinking_open=True), OTHER, "thinking without an end (strong)"),
        (but(GOOD, finish_reason="content_filter"), OTHER, "content refused (strong)"),
        (GOOD, Side(failure="Refused: 400: no such words here", refused=True), "content refused (weak)"),
        (GOOD, Side(failure="Unavailable: busy"), "no answer (weak)"),
        (GOOD, but(GOOD, text="oak is a  hard wood from the OAK tree."), "the same answer from both"),
        (GOOD, but(GOOD, text="Oak is a hard wood from an oak tree."), "too alike (similarity 0.8 or more)"),
        (GOOD, but(OTHER, n_tokens=113), "length gap over 100 tokens"),
    ],
)
def test_what_is_left_out_has_one_reason(strong, weak, reason):
    settings = SETTINGS.model_copy(update={"max_similarity": 0.8})
    assert why_dropped(strong, weak, settings) == reason


def test_bounds_are_where_they_are_said_to_be():
    assert why_dropped(GOOD, but(OTHER, n_tokens=112), SETTINGS) is None
    assert why_dropped(but(GOOD, n_tokens=113), but(OTHER, n_tokens=12), SETTINGS) == "length gap over 100 tokens"
    assert why_dropped(GOOD, OTHER, SETTINGS, n_prompt_tokens=2, context_length=16) is None
    assert why_dropped(GOOD, OTHER, SETTINGS, n_prompt_tokens=3, context_length=16) == (
        "longer than the context of 16 tokens"
    )


@pytest.mark.parametrize(
    "text",
    [
        "I cannot assist with that request.",
        "I’m sorry, but I am not able to provide this.",
        "Sorry, I can't do that.",
        "Unfortunately, I cannot create such content.",
        "I must decline to answer.",
    ],
)
def test_refusals_are_seen(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "Penguins cannot fly, but they can swim.",
        "To say sorry, write a short letter that names what went wrong.",
        "I can't say enough good things about oak: it lasts.",
        "An AI model is a program. " * 20 + "I cannot assist with that.",
    ],
)
def test_answers_that_only_sound_like_refusals_are_kept(text):
    assert not is_refusal(text)


TEXTS = st.text(st.sampled_from("ab c"), max_size=30)


@given(TEXTS, TEXTS)
def test_similarity_is_a_share_and_the_same_both_ways(one, other):
    assert 0 <= similarity(one, other) <= 1
    assert similarity(one, other) == pytest.approx(similarity(other, one))
    assert similarity(one, one) == 1


SIDES = st.builds(
    Side,
    text=st.text(max_size=20),
    finish_reason=st.sampled_from(["stop", "length", "content_filter", None]),
    n_tokens=st.integers(0, 300),
    thinking_open=st.booleans(),
    failure=st.none() | st.just("Unavailable: busy"),
)


@given(SIDES, SIDES)
def test_a_pair_that_is_kept_is_a_row_that_the_api_takes(strong, weak):
    if why_dropped(strong, weak, SETTINGS) is None:
        source = {"messages": [{"role": "user", "content": "What is oak?"}], "ground_truth": "wood"}
        row = convert(pair_row(source, strong.text, weak.text))
        assert row.kind == "pairs"
        assert row.conversions == []


def test_the_first_pass_separates_where_the_interval_lies_above_a_half():
    clear = first_pass(20, Counter(), "judge", [0.9] * 20, [0.1] * 20)
    assert clear.separates
    assert "wins 100 % [" in clear.text()
    close = first_pass(20, Counter(), "judge", [0.9] * 12 + [0.1] * 8, [0.1] * 12 + [0.9] * 8)
    assert not close.separates
    reverse = first_pass(20, Counter(), "judge", [0.1] * 20, [0.9] * 20)
    assert not reverse.separates
    assert "left out: refusal" in first_pass_markdown(
        first_pass(20, Counter({"refusal (weak)": 9}), "judge", [0.9] * 11, [0.9] * 11), "s", "w", [("p", "a", "b")]
    )


def test_unjudged_goes_on_if_a_pair_is_left_and_says_that_it_was_not_judged():
    assert first_pass(20, Counter({"cut off (weak)": 19}), None, [], []).separates
    assert not first_pass(20, Counter({"cut off (weak)": 20}), None, [], []).separates
    assert "unjudged" in first_pass(20, Counter(), None, [], []).text()


def test_nothing_valid_or_nothing_scored_does_not_separate():
    assert not first_pass(20, Counter({"cut off (weak)": 20}), "judge", [], []).separates
    assert not first_pass(5, Counter(), "judge", [None] * 5, [0.1] * 5).separates


def test_lengths_are_of_the_pairs_and_unknown_without_any():
    assert Length.of([]).text() == "no pairs"
    assert Length.of([(10, 4), (20, 4)]).chosen_mean == 15
    assert Length.of([(10, 4)] * 4 + [(100, 4)]).gap_p80 == pytest.approx(24.0, abs=20)


def model(model_id: str, billions: float | None) -> Model:
    details = None if billions is None else BaseModelDetails(parameter_count=int(billions * 1e9))
    return Model(name=f"accounts/fireworks/models/{model_id}", state="READY", base_model_details=details)


CATALOGUE = [
    model("qwen3-0p6b", 0.6),
    model("qwen3-8b", 8.2),
    model("qwen3-32b", 32.8),
    model("qwen3-235b-a22b", 235),  # does not fit onto one accelerator, and is of another family
    model("qwen3-14b", None),
    model("llama-v3p1-70b-instruct", 70),
    model("llama-v3p1-8b-instruct", 8),
]


def prices(**changed) -> PriceBook:
    return load_price_book("fireworks").model_copy(update=changed)


def test_the_largest_that_fits_and_the_smallest_of_the_base_s_family_are_picked():
    strong, weak = pick_models(CATALOGUE[1], CATALOGUE, prices(), Serving())
    assert [m.name.rsplit("/", 1)[-1] for m in (strong, weak)] == ["qwen3-8b", "qwen3-0p6b"]
    two = Serving(accelerator_count=2)
    assert pick_models(CATALOGUE[1], CATALOGUE, prices(), two)[0].name.endswith("qwen3-32b")
    assert family(CATALOGUE[0]) == family(CATALOGUE[2]) != family(CATALOGUE[3])


def test_without_two_models_or_a_price_the_user_is_asked_to_name_them():
    with pytest.raises(NoModelPair, match=r"Name both, `pairs\.strong` and `pairs\.weak`"):
        pick_models(CATALOGUE[6], CATALOGUE, prices(), Serving())  # the 70B does not fit
    with pytest.raises(NoModelPair, match="has no price in fireworks"):
        pick_models(CATALOGUE[1], CATALOGUE, prices(accelerator_usd_per_hour={}), Serving())
