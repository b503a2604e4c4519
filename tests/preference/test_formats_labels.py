"""Two outputs with a label, in the shapes of judges' benchmarks."""

import pytest

from preference.formats_faults import RowDropped
from preference.formats_rows import convert
from preference.tokens import answers_of

OUTPUTS = {"output_1": "one", "output_2": "two"}


@pytest.mark.parametrize(
    ("row", "prompt", "better"),
    [
        ({"input": "Say it.", **OUTPUTS, "label": 1}, "Say it.", "one"),  # LLMBar
        ({"input": "Say it.", **OUTPUTS, "label": 2}, "Say it.", "two"),
        ({"instruction": "Say it.", **OUTPUTS, "preference": 2.0}, "Say it.", "two"),  # AlpacaEval
        ({"instruction": "Say it.", "input": "Now.", **OUTPUTS, "preference": 1}, "Say it.\n\nNow.", "one"),
        ({"prompt": "Say it.", **OUTPUTS, "label": "2"}, "Say it.", "two"),
    ],
)
def test_the_labelled_output_is_the_chosen_one(row, prompt, better):
    found = convert(row)
    assert found.prompt == prompt
    assert answers_of(found.value) == (better, "two" if better == "one" else "one")
    assert "labelled outputs put into chosen and rejected" in found.conversions


@pytest.mark.parametrize("label", [0, 1.5, 3, None, "tie", [1]])
def test_a_tie_is_not_made_a_preference(label):
    with pytest.raises(RowDropped, match="the label names neither output"):
        convert({"input": "Say it.", **OUTPUTS, "label": label})
