"""A context length that every base model takes."""

import pytest

from preference.context import ContextTooLong, fit_context
from preference.settings import PreferenceRequest
from preference.wire import Model

SMALL = Model(name="accounts/a/models/small", training_context_length=520)
LARGE = Model(name="accounts/a/models/large", training_context_length=131072)
UNKNOWN = Model(name="accounts/a/models/unknown")


def request(**sweep) -> PreferenceRequest:
    return PreferenceRequest.model_validate({"dataset": "d", "sweep": sweep})


def test_the_default_gives_way_to_what_the_shortest_base_takes_and_that_is_told():
    fitted, [note] = fit_context(request(), [LARGE, SMALL, UNKNOWN])
    assert fitted.sweep.max_context_length == 512  # a multiple of 16
    assert note.startswith("The context length is 512 tokens instead of the default of 2048: ")
    assert "accounts/a/models/small takes at most 520" in note


def test_what_was_asked_for_is_refused_naming_every_base_that_cannot_take_it():
    told = r"small takes at most 520; .*large takes at most 131072\. Set it to 512 or less"
    with pytest.raises(ContextTooLong, match=told):
        fit_context(request(max_context_length=262144), [SMALL, LARGE])


def test_what_fits_stays_as_it_is():
    asked = request(max_context_length=512)
    assert fit_context(asked, [SMALL, UNKNOWN]) == (asked, [])
