"""Where to say what an instruction does not set."""

from __future__ import annotations

import re

_PLACES = (
    (
        r"(?:https?|s3|gs|hf|az)://\S+",
        "a dataset is a file on this machine, or the platform's own: bring it to one of them first",
    ),
    (
        "schedule|scheduled|daily|weekly|monthly|nightly|"
        "every (?:day|night|week|month|morning|(?:mon|tues|wednes|thurs|fri|satur|sun)day)",
        "when runs start is set by a schedule of the deployment preference-learning-weekly",
    ),
    (
        "e-?mail|mail|notify|notification|slack|ping|text me|message me",
        "who is told of a run is set once, by prefworks notify",
    ),
    (
        "platform|fireworks|local server|locally|cloud",
        "where a run trains is set by the form's Platform, in a file by `platform`",
    ),
    (
        "duplicates?|de-?duplicate|dedupe|dedup",
        "exact copies of a row are always left out, and prompts that are nearly the same stay on one side",
    ),
)
_FOUND = tuple((re.compile(rf"(?<![/\w])(?:{words})(?![/\w])"), where) for words, where in _PLACES)


def elsewhere(words: str) -> str:
    """Why these words were not acted on, where there is another place for them; "" otherwise."""
    said = words.casefold()
    return next((where for found, where in _FOUND if found.search(said)), "")
