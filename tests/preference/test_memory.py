"""What a plan says of memory, on a model that was measured."""

import pytest

from preference.bases import DataSize, named_bases
from preference.cost import load_price_book
from preference.memory import MemoryUse, memory_text, memory_warnings
from preference.wire import BaseModelDetails, Model

MEASURED = 100_000_000
USE = MemoryUse(
    process_gb=0.5,
    gb_per_billion_parameters=2,
    training_gb_per_thousand_tokens=1,
    pairs_a_pass=8,
    tokens_a_pass=8000,
    answering_gb=0.3,
    others_gb=1,
    measured_parameters=MEASURED,
    machine_gb=16,
)


def base(parameters: int | None = MEASURED, longest: int = 100):
    details = None if parameters is None else BaseModelDetails(parameter_count=parameters)
    counts = dict.fromkeys(DataSize.model_fields.keys() - {"notes", "train_profile", "exact", "guessed"}, 0)
    data = DataSize(**{**counts, "exact": True, "longest_tokens": longest})
    return named_bases([Model(name="accounts/a/models/m", base_model_details=details)], [data])[0]


def test_training_holds_the_model_and_the_tokens_of_one_pass():
    # 0.5 libraries, 0.2 weights, 4 pairs x 2 x 100 tokens
    assert USE.training_gb(base(), batch_size=4) == pytest.approx(0.5 + 0.2 + 0.8)
    assert USE.training_gb(base(), batch_size=64) == USE.training_gb(base(), batch_size=8)


def test_long_rows_are_taken_fewer_at_a_time_and_never_less_than_one():
    assert USE.training_gb(base(longest=1000), batch_size=8) == pytest.approx(0.7 + 8)
    assert USE.training_gb(base(longest=1000), batch_size=6) == pytest.approx(0.7 + 6)  # 4 does not divide 6
    assert USE.training_gb(base(longest=8000), batch_size=8) == pytest.approx(0.7 + 16)


def test_a_larger_model_holds_more_in_weights_and_in_activations():
    # four times the parameters: twice the layers x width
    assert USE.training_gb(base(4 * MEASURED), batch_size=4) == pytest.approx(0.5 + 0.8 + 1.6)
    assert USE.answering_peak_gb(base(4 * MEASURED)) == pytest.approx(0.5 + 0.8 + 0.6)


def test_all_places_train_while_the_largest_answers():
    two = USE.model_copy(update={"jobs_at_once": 2})
    small, large = base(), base(4 * MEASURED)
    assert two.peak_gb([small, large], 4) == pytest.approx(2 * 2.9 + 1.9 + 1)


def test_a_plan_that_the_machine_cannot_hold_warns():
    assert memory_warnings(USE, [base()], 4) == []
    [warning] = memory_warnings(USE, [base(8_000_000_000)], 4)
    assert "of this machine's 16 GB 13 GB can be used" in warning
    assert "Take a smaller base model" in warning
    assert memory_warnings(USE.model_copy(update={"machine_gb": None}), [base(8_000_000_000)], 4) == []


def test_the_sentence_says_whose_memory_it_is():
    assert memory_text(USE, [base()], 4) == (
        "Memory at the peak, estimated: 3.5 GB (1.5 GB a training job, 1.0 GB the answers, 1.0 GB what runs beside "
        "them); this machine has 16 GB"
    )
    assert memory_text(None, [base()], 4) == "Memory: the platform's own, priced with its hardware"


def test_the_local_book_knows_its_memory_and_the_cloud_s_does_not():
    assert load_price_book("fireworks").memory is None
    local = load_price_book("local").with_memory(24)
    assert local.memory is not None
    assert (local.memory.machine_gb, local.memory.jobs_at_once) == (24, 1)
