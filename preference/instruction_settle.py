"""All mentions of a field as one value, or as a question; and fields that must fit together."""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz import fuzz

from preference import instruction_models as models
from preference.instruction_models import KnownModel
from preference.instruction_reading import TITLES, Mention, Question, Reading, Refusal, Understood, shown_value
from preference.instruction_search import read_as_search

MODEL_FIELDS = ("base_models", "judge", "champion", "pairs.strong", "pairs.weak")


def settle(reading: Reading, field: str, mentions: list[Mention]) -> None:
    """One value for a field, or a question."""
    mentions, instead_of = _corrected(mentions)
    said = [m for m in mentions if not m.found.bare] or mentions
    if field in ("base_models", "methods"):
        said = _with_bare(said, mentions)
    words = " … ".join(dict.fromkeys(m.words for m in said))
    if asked := [m for m in said if m.found.question]:
        reading.questions += [Question(field=field, text=m.found.question, words=m.words) for m in asked]
        return
    values = [m.found.value for m in said]
    if any(m.found.implied for m in said):
        values = [list(dict.fromkeys(x for value in values for x in value))]
    if len(said) < len(mentions):
        values += [m.found.value for m in mentions if m.found.bare and not m.found.question]
        words = " … ".join(dict.fromkeys(m.words for m in mentions))
    if any(value != values[0] for value in values[1:]):
        shown = " and ".join(dict.fromkeys(shown_value(v) for v in values))
        text = f"Both {shown} were said as {TITLES.get(field, field)}. Which one is meant?"
        if field == "dataset" and len(values) == 2:
            text = f"Two datasets were named, {shown}. Which one is trained on, and is the other one held out? "
            text += "(A path with blanks in it needs quotation marks.)"
        reading.questions.append(Question(field=field, text=text, words=words))
        return
    notes = "; ".join(dict.fromkeys([*(m.found.note for m in said if m.found.note), *instead_of]))
    reading.understood.append(Understood(field=field, value=values[0], words=words, note=notes))


def _corrected(mentions: list[Mention]) -> tuple[list[Mention], list[str]]:
    """The mentions from the last one on that corrects, and what it was said instead of."""
    last = max((n for n, m in enumerate(mentions) if m.corrects and n), default=0)
    return mentions[last:], [f"instead of “{m.words}”" for m in mentions[:last]]


def _with_bare(said: list[Mention], mentions: list[Mention]) -> list[Mention]:
    """Models named in passing count, too: "Use Qwen3 8B. Qwen3 32B as well"; "no ORPO" beside "DPO" says the same."""
    if said is mentions or not any(m.found.bare for m in mentions):
        return said
    if mentions[0].found.field == "methods":
        return mentions
    return sorted([*said, *(m for m in mentions if m.found.bare)], key=lambda m: m.start)


def name_models(reading: Reading, catalogue: Sequence[KnownModel]) -> None:
    """Names of models as the catalogue's, where it has one that fits; a base that cannot be tuned is refused."""
    for one in list(reading.understood):
        if one.field not in MODEL_FIELDS:
            continue
        named = one.value if isinstance(one.value, list) else [one.value]
        resolved: list[str] = []
        for name in named:
            fitting = models.matches(name, catalogue)
            if len(fitting) > 1:
                listed = ", ".join(m.name for m in fitting)
                reading.questions.append(
                    Question(field=one.field, words=one.words, text=f"{name!r} fits {listed}. Which one is meant?")
                )
            elif fitting and fitting[0].tunable is False and one.field == "base_models":
                near = _nearest_tunable(fitting[0], catalogue)
                reading.refused.append(
                    Refusal(
                        field=one.field,
                        words=name,
                        text=f"{fitting[0].name} cannot be tuned on preferences here. The nearest that can: {near}.",
                    )
                )
            elif not fitting and (relatives := models.relatives(name, catalogue)):
                listed = ", ".join(m.id for m in relatives[:6])
                reading.questions.append(
                    Question(field=one.field, words=one.words, text=f"Which {name} is meant? There are {listed}.")
                )
            resolved.append(fitting[0].name if len(fitting) == 1 else name)
        if any(q.field == one.field and q.words == one.words for q in reading.questions):
            reading.understood.remove(one)
            continue
        resolved = list(
            {str(models.parts(name)) if "/" not in name else name: name for name in reversed(resolved)}.values()
        )
        resolved.reverse()  # the first spelling of each
        if resolved != named and not (len(named) == 1 and named[0] == resolved[0].rsplit("/", 1)[-1]):
            one.note = "; ".join(
                x for x in (one.note, "taken as " + ", ".join(m.rsplit("/", 1)[-1] for m in resolved)) if x
            )
        one.value = resolved if isinstance(one.value, list) else resolved[0]


def _nearest_tunable(model: KnownModel, catalogue: Sequence[KnownModel]) -> str:
    tunable = [m for m in catalogue if m.tunable]
    best = sorted(tunable, key=lambda m: -fuzz.ratio(m.id, model.id))[:3]
    return ", ".join(m.name for m in best) or "none"


def fit_together(reading: Reading) -> None:
    """Fields that say one thing in two ways, or that need each other."""
    read_as_search(reading)
    fields = reading.fields
    about_target = [*fields, *(q.field for q in reading.questions)]
    if fields.get("stop_at_target") and not any(field.startswith("target_") for field in about_target):
        reading.questions.append(
            Question(
                field="target_win_rate",
                words=reading.words_for("stop_at_target"),
                text="Stop early at which win rate against the base, in percent?",
            )
        )
    if "evaluator" in fields and "rubric" in fields:
        reading.questions.append(
            Question(
                field="evaluator",
                words=f"{reading.words_for('evaluator')} … {reading.words_for('rubric')}",
                text="An evaluator and a rubric were both given, and one judges. Which one?",
            )
        )
    if "held_out" in fields and "held_out_share" in fields:
        reading.questions.append(
            Question(
                field="held_out",
                words=f"{reading.words_for('held_out')} … {reading.words_for('held_out_share')}",
                text="A held-out dataset and a share of the dataset to hold out were both given. Which one?",
            )
        )
