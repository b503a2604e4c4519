"""The items that name something: data, evaluators and rubrics, base models, a champion, who writes pairs."""

from __future__ import annotations

from collections.abc import Iterator

from preference.instruction_said import Found, Rule, Said, flag

_DATA = {"DATASET_REF", "FILE", "PATH", "NAME", "QUOTED", "WORD"}
_EVALUATORS = {"EVALUATOR_REF", "CODE", "PATH", "NAME", "QUOTED", "WORD"}


def _named(said: Said, kinds: set[str]) -> str:
    return str(next(a.value if a.value is not None else a.text for a in reversed(said.atoms) if a.kind in kinds))


def _data(field: str, *, bare: bool = False) -> Rule:
    def read(said: Said) -> Iterator[Found]:
        first = next((a for a in said.atoms if a.kind in _DATA), None)
        if first is not None:
            yield Found(field=field, value=str(first.value if first.value is not None else first.text), bare=bare)

    return read


def _evaluator(said: Said) -> Iterator[Found]:
    yield Found(field="evaluator", value=_named(said, _EVALUATORS), bare=said.item.rule == "bare_evaluator")


def _rubric(said: Said) -> Iterator[Found]:
    yield Found(field="rubric", value=said.of("RUBRIC_TEXT")[0].value)


def _models(said: Said) -> Iterator[Found]:
    kinds = {"MODEL_NAME"} if said.has("MODEL_NAME") else {"NAME", "WORD", "QUOTED"}
    named = [a for a in said.atoms if a.kind in kinds]
    question = "Both of these, or one of them? Which?" if said.has("OR") and len(named) > 1 else ""
    yield Found(
        field="base_models",
        value=list(dict.fromkeys(str(a.value or a.text) for a in named)),
        question=question,
        note="; ".join(a.note for a in named if a.note),
        union=True,
        bare=said.item.rule == "bare_models",
    )


def _model_sweep(said: Said) -> Iterator[Found]:
    yield Found(field="base_models", value=[], note="a sweep over the supported base models")


def _model(field: str) -> Rule:
    def read(said: Said) -> Iterator[Found]:
        yield Found(field=field, value=_named(said, {"MODEL_NAME", "DEPLOYMENT_REF", "NAME", "QUOTED"}))

    return read


def _pair_models(said: Said) -> Iterator[Found]:
    yield Found(field="pairs.generate", value=True)
    yield Found(
        field="pairs.strong",
        question="Which of these models gives the preferred answers (strong), and which the others (weak)?",
    )


def _against_model(said: Said) -> Iterator[Found]:
    yield Found(
        field="champion",
        question=f"Is {_named(said, {'MODEL_NAME'})} the champion, to be beaten? The base models are always compared.",
    )


def _size_alone(said: Said) -> Iterator[Found]:
    sizes = " and ".join(a.text for a in said.of("SIZE"))
    yield Found(field="base_models", question=f"{sizes} of which model family? Name the base models.")


def _unclear_name(said: Said) -> Iterator[Found]:
    name = _named(said, {"NAME"})
    yield Found(field="dataset", question=f"What is {name!r}: a dataset, a base model or an evaluator?")


RULES: dict[str, Rule] = {
    "dataset": _data("dataset"),
    "bare_dataset": _data("dataset", bare=True),
    "held_out": _data("held_out"),
    "labelled": _data("labelled"),
    "evaluator": _evaluator,
    "bare_evaluator": _evaluator,
    "judge": _model("judge"),
    "rubric": _rubric,
    "base": _models,
    "bare_models": _models,
    "versus": _models,
    "model_sweep": _model_sweep,
    "champion": _model("champion"),
    "last_promoted": flag("champion", "last promoted"),
    "against_model": _against_model,
    "size_alone": _size_alone,
    "strong": _model("pairs.strong"),
    "weak": _model("pairs.weak"),
    "pair_models": _pair_models,
    "pair_rivals": _pair_models,
    "unclear_name": _unclear_name,
}
